#version 330
uniform mat4 view, to_lamp;
in vec3 position, normal, color, accent, rest;
in float pattern;
out vec3 facing, at_lamp, tint, other, cloth;
out float weave;
void main() {
    facing = normal;
    at_lamp = (to_lamp * vec4(position, 1.0)).xyz;
    tint = color;
    other = accent;
    cloth = rest;
    weave = pattern;
    gl_Position = view * vec4(position, 1.0);
}
