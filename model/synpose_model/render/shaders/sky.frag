uniform mat3 to_world;
in vec2 screen;
out vec4 result;
void main() {
    result = displayed(look(to_world * vec3(screen, 1.0)));
}
