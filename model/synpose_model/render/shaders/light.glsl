#version 330
// What all surfaces share: sky light, one lamp with shadows, and the way to display colours.

uniform vec3 irradiance[9];
uniform vec3 sun;
uniform float sunlight;
uniform float exposure;
uniform sampler2D surroundings;
uniform sampler2DShadow shadow_map;

const float PI = 3.14159265;

vec3 look(vec3 direction) {
    vec3 d = normalize(direction);
    vec2 at = vec2(atan(d.y, d.x) / (2.0 * PI) + 0.5, acos(clamp(d.z, -1.0, 1.0)) / PI);
    return textureLod(surroundings, at, 0.0).rgb;
}

vec3 sky_light(vec3 n) {
    vec3 light = irradiance[0] * 0.282095 + 0.488603 * (irradiance[1] * n.y + irradiance[2] * n.z + irradiance[3] * n.x)
        + 1.092548 * (irradiance[4] * n.x * n.y + irradiance[5] * n.y * n.z + irradiance[7] * n.x * n.z)
        + irradiance[6] * 0.315392 * (3.0 * n.z * n.z - 1.0) + irradiance[8] * 0.546274 * (n.x * n.x - n.y * n.y);
    return max(light, vec3(0.02));
}

float lit(vec3 at_lamp, float facing) {
    vec3 p = at_lamp * 0.5 + 0.5;
    if (facing == 0.0 || any(greaterThan(abs(at_lamp), vec3(1.0)))) return 1.0;
    float sum = 0.0;
    for (int i = 0; i < 4; ++i)
        sum += texture(shadow_map, vec3(p.xy + (vec2(i & 1, i >> 1) - 0.5) / 700.0, p.z - 0.003 + 0.0018 * facing));
    return sum / 4.0;
}

vec3 shaded(vec3 color, vec3 n, vec3 at_lamp) {
    float facing = max(dot(n, sun), 0.0);
    float shadow = lit(at_lamp, facing);
    return color * (sky_light(n) * (0.6 + 0.4 * shadow) + sunlight * facing * shadow);
}

vec4 displayed(vec3 light) {
    vec3 c = light * exposure;
    c = c * (1.0 + c / 9.0) / (1.0 + c);  // Reinhard's curve, white at 3
    return vec4(pow(clamp(c * 1.6, 0.0, 1.0), vec3(1.0 / 2.2)), 1.0);
}

// Smooth noise in [0, 1] that repeats every 64 units, from a texture: on a CPU cheaper than hashes.
uniform sampler2D grain;

float noise(vec2 p) {
    return textureLod(grain, p / 64.0, 0.0).r;
}
