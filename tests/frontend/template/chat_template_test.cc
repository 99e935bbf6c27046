#include "frontend/template/chat_template.h"

#include <gtest/gtest.h>

#include <chrono>

namespace exo {
namespace {

Result<std::string> render(const std::string& source, const ChatTemplate::Limits& limits = {}) {
  EXO_ASSIGN(ChatTemplate chat_template, ChatTemplate::parse(source));
  return chat_template.render({{"x", 1}}, limits);
}

void expectError(const std::string& source, const std::string& part, ErrorCode code, const ChatTemplate::Limits& limits = {}) {
  auto rendered = render(source, limits);
  ASSERT_FALSE(rendered.ok()) << source << " rendered " << *rendered;
  EXPECT_NE(rendered.error().message().find(part), std::string::npos) << source << ": " << rendered.error();
  EXPECT_EQ(rendered.error().code(), code) << rendered.error();
}

TEST(ChatTemplate, ErrorsNameTheLine) {
  expectError("a\n\n{{ x.y.z }}", "line 3: 'int object' has no attribute 'y'", ErrorCode::kInvalidInput);
  expectError("a\n{% if x %}\n{% for y in x %}", "line 3: the template ends where 'endfor' or 'else' was expected", ErrorCode::kInvalidInput);
  expectError("{#\n\n#}{{ 'a\nb' ? }}", "line 4: unexpected character '?'", ErrorCode::kInvalidInput);
  expectError("\n{{ raise_exception('no') }}", "line 2: no", ErrorCode::kInvalidInput);
}

TEST(ChatTemplate, RefusesByName) {
  expectError("{{ x|wordwrap }}", "the filter 'wordwrap' is not supported", ErrorCode::kUnsupported);
  expectError("{{ x is nice }}", "the test 'nice' is not supported", ErrorCode::kUnsupported);
  expectError("{% include 'x' %}", "the tag 'include' is not supported", ErrorCode::kUnsupported);
  expectError("{% block a %}{% endblock %}", "the tag 'block' is not supported", ErrorCode::kUnsupported);
  expectError("{{ 'a'.encode() }}", "the attribute 'encode' of 'str' is not supported", ErrorCode::kUnsupported);
  expectError("{{ x.__class__ }}", "'__class__'", ErrorCode::kUnsupported);
  expectError("{{ joiner() }}", "the global 'joiner' is not supported", ErrorCode::kUnsupported);
  expectError("{% for i in [1] recursive %}{% endfor %}", "a recursive loop is not supported", ErrorCode::kUnsupported);
  expectError("{{ range(*[1]) }}", "a call with *arguments is not supported", ErrorCode::kUnsupported);
  expectError("{% for i in [1] %}{{ loop }}{% endfor %}", "use loop.index", ErrorCode::kUnsupported);
  expectError("{{ [].append(1) }}", "is unsafe", ErrorCode::kInvalidInput);
  expectError("{{ strftime_now('%Q') }}", "'%Q'", ErrorCode::kUnsupported);
}

TEST(ChatTemplate, StepLimitStopsLoops) {
  ChatTemplate::Limits limits;
  limits.steps = 10'000;
  expectError("{% for a in range(1000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}", "more than the 10000 steps", ErrorCode::kDoesNotFit, limits);
}

TEST(ChatTemplate, OutputLimitStopsTexts) {
  ChatTemplate::Limits limits;
  limits.output_bytes = 1000;
  expectError("{% for a in range(1001) %}x{% endfor %}", "at most 1000 are allowed", ErrorCode::kDoesNotFit, limits);
  expectError("{% set s = 'x' * 1001 %}", "at most 1000 are allowed", ErrorCode::kDoesNotFit, limits);
  EXPECT_EQ(render("{% for a in range(1000) %}x{% endfor %}", limits)->size(), 1000u);
}

TEST(ChatTemplate, DepthLimitsStopRecursion) {
  expectError("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "nested deeper than 250 levels", ErrorCode::kDoesNotFit);
  expectError("{{ " + std::string(100000, '[') + std::string(100000, ']') + " }}", "nested deeper", ErrorCode::kInvalidInput);
  std::string ifs, sum = "{{ 1";
  for (int i = 0; i < 10000; ++i) ifs += "{% if x %}", sum += " + 1";
  expectError(ifs, "nested deeper", ErrorCode::kInvalidInput);
  expectError(sum + " }}", "nested deeper", ErrorCode::kInvalidInput);
  expectError("{% set ns = namespace(x=[]) %}{% for i in range(1000) %}{% set ns.x = [ns.x] %}{% endfor %}", "a list is nested deeper", ErrorCode::kInvalidInput);
}

TEST(ChatTemplate, SharedListsCostSteps) {
  ChatTemplate::Limits limits;
  limits.steps = 100'000;
  std::string doubled = "{% set ns = namespace(x=[], y=[]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}";
  for (const char* use : {"{{ ns.x }}", "{{ ns.x|tojson }}", "{{ ns.x == ns.y }}", "{{ ns.x < ns.y }}"}) {
    expectError(doubled + use, "more than the 100000 steps", ErrorCode::kDoesNotFit, limits);
  }
}

TEST(ChatTemplate, RejectsBadVariables) {
  auto chat_template = ChatTemplate::parse("{{ x }}");
  ASSERT_TRUE(chat_template.ok());
  EXPECT_FALSE(chat_template->render(nlohmann::ordered_json::array()).ok());
  EXPECT_FALSE(chat_template->render({{"x", "\xff"}}).ok());
  EXPECT_FALSE(chat_template->render({{"x", 18446744073709551615u}}).ok());
  nlohmann::ordered_json deep = 1;
  for (int i = 0; i < 2000; ++i) deep = nlohmann::ordered_json::array({std::move(deep)});
  auto rendered = chat_template->render({{"x", deep}});
  ASSERT_FALSE(rendered.ok());
  EXPECT_NE(rendered.error().message().find("nested deeper"), std::string::npos);
}

TEST(ChatTemplate, RejectsInvalidUtf8InTheTemplate) { EXPECT_FALSE(ChatTemplate::parse("a\xc3{{ x }}").ok()); }

TEST(ChatTemplate, RendersTheSameTwice) {
  auto chat_template = ChatTemplate::parse("{% set g = [x, 2]|select %}{{ g|join(',') }}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}");
  ASSERT_TRUE(chat_template.ok());
  EXPECT_EQ(*chat_template->render({{"x", 1}}), "1,21");
  EXPECT_EQ(*chat_template->render({{"x", 1}}), "1,21");
}

}  // namespace
}  // namespace exo
