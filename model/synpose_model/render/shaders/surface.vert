#version 330
uniform mat4 model, view, to_lamp;
in vec3 position, normal;
out vec3 world, facing, at_lamp;
void main() {
    vec4 p = model * vec4(position, 1.0);
    world = p.xyz;
    // a box is turned about the vertical only, so its sides keep their scaled axes
    facing = normalize(mat3(model) * normal);
    at_lamp = (to_lamp * p).xyz;
    gl_Position = view * p;
}
