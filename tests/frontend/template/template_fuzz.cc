// One input is a template, then a zero byte, then the JSON of its variables (absent: a short conversation). Whatever it is, parsing
// and rendering must end with a text or an error within small limits.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "frontend/template/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  size_t split = input.find('\0');
  auto parsed = exo::ChatTemplate::parse(std::string(input.substr(0, split)));
  if (!parsed.ok()) return 0;
  nlohmann::ordered_json variables;
  if (split != std::string_view::npos) variables = nlohmann::ordered_json::parse(input.substr(split + 1), nullptr, false);
  if (!variables.is_object()) {
    variables = {{"messages", {{{"role", "user"}, {"content", "Hé ' \" <x>\n"}}, {{"role", "assistant"}, {"content", nullptr}, {"n", 1.5}}}},
                 {"tools", {{{"name", "f"}, {"parameters", {{"a", {1, 2, {3}}}}}}}},
                 {"add_generation_prompt", true},
                 {"x", 7}};
  }
  exo::ChatTemplate::Limits limits;
  limits.steps = 20'000;
  limits.depth = 200;
  limits.output_bytes = 1 << 20;
  auto rendered = parsed->render(variables, limits);
  if (rendered.ok() && rendered->size() > limits.output_bytes) __builtin_trap();
  return 0;
}
