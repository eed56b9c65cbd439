in vec3 facing, at_lamp, tint, other, cloth;
in float weave;
out vec4 result;
void main() {
    float mask = 0.0;
    int kind = int(weave + 0.5);
    if (kind == 1) mask = step(0.5, fract(cloth.z * 14.0));
    else if (kind == 2) mask = 0.5 * (step(0.7, fract(cloth.z * 16.0)) + step(0.7, fract(cloth.x * 16.0)));
    else if (kind == 3) mask = smoothstep(0.6, 0.7, noise(cloth.xz * 40.0 + cloth.y * 25.0));
    vec3 c = mix(tint, other, mask) * (0.85 + 0.3 * noise(cloth.xz * 50.0 + cloth.y * 30.0));
    result = displayed(shaded(c, normalize(facing), at_lamp));
}
