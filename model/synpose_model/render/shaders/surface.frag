uniform int pattern;
uniform vec3 color, accent, middle, eye;
uniform float size, horizon;
in vec3 world, facing, at_lamp;
out vec4 result;
void main() {
    vec3 n = normalize(facing);
    vec2 uv = (abs(n.z) > 0.7 ? world.xy : vec2(dot(world.xy, vec2(-n.y, n.x)), world.z)) / size;
    float mask = 0.0;
    if (pattern == 1) mask = mod(floor(uv.x) + floor(uv.y), 2.0);
    else if (pattern == 2) mask = step(0.5, fract(uv.x));
    else if (pattern == 3) mask = smoothstep(0.45, 0.6, noise(uv * 3.0));
    else if (pattern == 4) {
        vec2 brick = vec2(uv.x + 0.5 * mod(floor(uv.y * 2.0), 2.0), uv.y * 2.0);
        mask = max(step(fract(brick.x), 0.04), step(fract(brick.y), 0.08));
    }
    // patterns finer than a pixel turn into their mean, as a lens has it
    mask = mix(mask, 0.4, smoothstep(0.3, 1.0, length(fwidth(uv))));
    vec3 c = mix(color, accent, mask) * (0.7 + 0.5 * noise(uv * size * 1.7 + n.xy) + 0.2 * noise(uv * size * 17.0));
    if (dot(n, eye - world) < 0.0) n = -n;  // a room is a box seen from inside
    vec3 light = shaded(c, n, at_lamp);
    float far = smoothstep(0.6 * horizon, horizon, length(world.xy - middle.xy));
    if (far > 0.0) light = mix(light, look(world - eye), far);
    result = displayed(light);
}
