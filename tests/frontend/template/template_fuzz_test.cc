// The fuzz target's entry on templates damaged by hand: every prefix, every deleted byte, and bytes swapped for telling ones.
#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

void feed(const std::string& input) { LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size()); }

std::vector<std::string> ownTemplates() {
  std::ifstream file(EXO_TEST_DATA "/templates/expected.json");
  auto json = nlohmann::json::parse(file, nullptr, false);
  std::vector<std::string> out;
  for (const auto& test : json["cases"]) out.push_back(test["template"]);
  return out;
}

TEST(TemplateFuzz, PrefixesAndDeletions) {
  for (const std::string& source : ownTemplates()) {
    size_t stride = 1 + source.size() / 40;
    for (size_t i = 0; i < source.size(); i += stride) {
      feed(source.substr(0, i));
      feed(source.substr(0, i) + source.substr(i + 1));
    }
  }
}

TEST(TemplateFuzz, ReplacedBytes) {
  for (const std::string& source : ownTemplates()) {
    size_t stride = 1 + source.size() / 12;
    for (char byte : {'{', '}', '%', '"', '\\', '(', '-', '\xff', '\0', '9', '|', '.'}) {
      for (size_t i = 0; i < source.size(); i += stride) {
        std::string damaged = source;
        damaged[i] = byte;
        feed(damaged);
      }
    }
  }
}

TEST(TemplateFuzz, HostileTemplates) {
  std::string brackets(100000, '(');
  feed("{{ " + brackets + " }}");
  feed("{{ " + std::string(100000, '-') + "1 }}");
  feed("{% set s = 'aaaaaaaa' %}{% for i in range(100) %}{% set s = s ~ s %}{{ s }}{% endfor %}");
  feed("{{ 'a' * 1000000000000 }}{{ [1] * 1000000000000 }}");
  feed("{{ 'x'.center(9223372036854775807) }}{{ 'x'|indent(9223372036854775807, true) }}");
  feed("{% set ns = namespace(x=[]) %}{% for i in range(1000) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x == ns.x }}{{ ns.x }}");
  feed("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}");
  feed("{{ -9223372036854775807 - 1 }}{{ (-9223372036854775807 - 1) // -1 }}{{ (-9223372036854775807 - 1)|abs }}{{ 'a'[-9223372036854775807:9223372036854775807:9223372036854775807] }}");
  feed("{{ range(9223372036854775807, -9223372036854775807, -9223372036854775807)|list }}{{ range(0, 9223372036854775807) }}");
  feed("{{ '%1000000000d' % 1 }}{{ '{:1000000000}'.format(1) }}{{ 1e308 * 10 }}{{ '%f' % 1e308 }}");
}

}  // namespace
