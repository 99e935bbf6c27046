// JSON Schema as grammars: which texts they have, and which schemas are refused.
#include <random>

#include "executor/serve/grammar/constraint.h"
#include "executor/serve/grammar/json_grammar.h"
#include "tests/executor/serve/grammar/matching.h"

namespace exo::serve {
namespace {

using Texts = std::vector<std::string>;

struct Case {
  const char* name;
  const char* schema;
  Texts valid, invalid;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class JsonSchema : public ::testing::TestWithParam<Case> {};

TEST_P(JsonSchema, HasTheseTextsAndNotThose) {
  Matcher matcher(schemaGrammar(OrderedJson::parse(GetParam().schema), "schema"));
  for (const std::string& text : GetParam().valid) EXPECT_TRUE(matcher.matches(text)) << text;
  for (const std::string& text : GetParam().invalid) EXPECT_FALSE(matcher.matches(text)) << text;
}

INSTANTIATE_TEST_SUITE_P(
    Words, JsonSchema,
    ::testing::Values(
        Case{"Strings", R"({"type": "string"})", {R"("")", R"("a ä \" \\ \n \u00e4 \ud83d\ude00")"}, {"\"\n\"", R"("\x")", R"("\ud83d")", "a", R"("a)"}},
        Case{"Lengths", R"({"type": "string", "minLength": 2, "maxLength": 3})", {R"("ab")", R"("äöü")", R"("\n\n")"}, {R"("a")", R"("abcd")"}},
        Case{"Pattern", R"({"type": "string", "pattern": "^[a-z]+\"$"})", {R"("ab\"")"}, {R"("ab")", R"("ab"")", R"("AB\"")"}},
        Case{"FoundPattern", R"({"type": "string", "pattern": "bc"})", {R"("abcd")", R"("bc")"}, {R"("bd")"}},
        Case{"Date", R"({"type": "string", "format": "date"})", {R"("2026-02-28")"}, {R"("2026-13-01")", R"("today")"}},
        Case{"Numbers", R"({"type": "number"})", {"0", "-1.5", "1e10", "2.5E-3"}, {"01", "+1", ".5", "1.", "--1", "NaN"}},
        Case{"Integers", R"({"type": "integer"})", {"0", "-12", "1234567890123456"}, {"1.0", "1e3", "-", "00"}},
        Case{"Bounds", R"({"type": "integer", "minimum": -3, "exclusiveMaximum": 12})", {"-3", "0", "9", "11"}, {"-4", "12", "100", "-10"}},
        Case{"NumberBounds", R"({"type": "number", "minimum": -1, "maximum": 2})", {"-1", "-0.99", "0", "1.999", "2"}, {"-1.1", "2.01", "3", "-2"}},
        Case{"Constants", R"({"enum": ["a b", 1, null, {"k": [true]}]})", {R"("a b")", "1", "null", R"({"k":[true]})"}, {R"("a")", "2", "true"}},
        Case{"Types", R"({"type": ["boolean", "null"]})", {"true", "false", "null"}, {"0", "\"true\""}},
        Case{"Lists", R"({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3})", {"[1]", "[1, 2]", "[1,2,3]", "[\n  1,\n  2\n]"}, {"[]", "[1,2,3,4]", "[1,]", "[\"a\"]", "[1 2]"}},
        Case{"Tuples", R"({"prefixItems": [{"const": 1}, {"type": "string"}], "items": false})", {R"([1,"a"])"}, {"[1]", R"([1,"a",2])", R"(["a",1])"}},
        Case{"Objects", R"({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}, "c": {"type": "null"}}, "required": ["b"]})",
             {R"({"b":"x"})", R"({"a": 1, "b": "x"})", R"({"b":"x","c":null})", "{\n  \"a\": 1,\n  \"b\": \"\",\n  \"c\": null\n}"},
             {"{}", R"({"a":1})", R"({"b":"x","a":1})", R"({"b":"x","d":1})", R"({"b":"x",})", R"({"a":"1","b":"x"})"}},
        Case{"OptionalOnly", R"({"properties": {"a": {"const": 1}, "b": {"const": 2}}})", {"{}", R"({"a":1})", R"({"b":2})", R"({"a":1,"b":2})"}, {R"({,"b":2})", R"({"a":1,})"}},
        Case{"OtherProperties", R"({"properties": {"ab": {"const": 1}}, "additionalProperties": {"type": "integer"}})",
             {R"({"ab":1})", R"({"ab":1,"x":2})", R"({"a":3})", R"({"abc":3,"":4})"}, {R"({"ab":2})", R"({"x":"y"})", R"({"ab":1,"ab":7})"}},
        Case{"AnyObject", R"({"type": "object"})", {"{}", R"({"x": [1, {"y": null}]})"}, {"[]", "{1:2}"}},
        Case{"Ways", R"({"anyOf": [{"type": "integer"}, {"type": "string"}]})", {"1", "\"a\""}, {"true"}},
        Case{"All", R"({"allOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]}, {"properties": {"b": {"const": 2}}, "required": ["b"]}]})", {R"({"a":1,"b":2})"}, {R"({"a":1})"}},
        Case{"References", R"({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {"v": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}, "required": ["v", "next"]}}})",
             {R"({"v":1,"next":null})", R"({"v":1,"next":{"v":2,"next":{"v":3,"next":null}}})"}, {R"({"v":1})", R"({"v":1,"next":{"v":2}})"}},
        Case{"Annotations", R"({"type": "integer", "title": "t", "description": "d", "default": 3, "x-own": {}})", {"1"}, {"\"1\""}},
        Case{"Anything", "true", {"1", "[{}]", "\"x\"", "null"}, {"x", ""}}),
    [](const auto& info) { return info.param.name; });

TEST(JsonSchemaRefused, WithTheirPath) {
  const auto error = [](const char* schema) {
    auto grammar = schemaGrammar(OrderedJson::parse(schema), "schema");
    return grammar.ok() ? std::string("none") : grammar.error().message();
  };
  const auto has = [](const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; };
  EXPECT_PRED2(has, error(R"({"properties": {"a": {"type": "hiccup"}}})"), "schema.properties.a.type: expected object");
  EXPECT_PRED2(has, error(R"({"items": {"uniqueItems": true}})"), "schema.items.uniqueItems");
  EXPECT_PRED2(has, error(R"({"not": {}})"), "schema.not");
  EXPECT_PRED2(has, error("[]"), "expected a schema");
  EXPECT_PRED2(has, error("false"), "expected a schema");
  EXPECT_PRED2(has, error(R"({"$ref": "#/$defs/none"})"), "nothing at #/$defs/none");
  EXPECT_PRED2(has, error(R"({"$ref": "http://elsewhere/x.json"})"), "expected a place in this document");
  EXPECT_PRED2(has, error(R"({"type": "string", "pattern": "("})"), "schema.pattern: regular expression");
  EXPECT_PRED2(has, error(R"({"type": "number", "minimum": 0.5})"), "whole");
  EXPECT_PRED2(has, error(R"({"minItems": 3, "maxItems": 2})"), "minItems");
  EXPECT_PRED2(has, error(R"({"type": "integer", "minimum": 3, "maximum": 2})"), "minimum <= maximum");
  EXPECT_PRED2(has, error(R"({"required": ["a"], "properties": {"b": {}}})"), "\"a\" is none");
  EXPECT_PRED2(has, error(R"({"enum": []})"), "schema.enum");
  std::string deep = "{}";
  for (int i = 0; i < 200; ++i) deep = R"({"items": )" + deep + "}";
  EXPECT_PRED2(has, error(deep.c_str()), "deeper");
}

TEST(JsonSchemaRefused, ASchemaThatIsOnlyItself) {
  auto grammar = schemaGrammar(OrderedJson::parse(R"({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]})"), "schema");
  EXPECT_TRUE(!grammar.ok() || !Automaton::create(*std::move(grammar)).ok());
}

TEST(JsonNumbers, IntegersOfARangeAreExactlyThose) {
  for (const auto& [min, max] : std::vector<std::pair<int, int>>{{0, 0}, {0, 9}, {5, 10}, {-7, 113}, {99, 101}, {-113, -7}, {-1000, 1000}, {87, 1203}, {10, 99}, {-10, -10}}) {
    Matcher matcher(json::integerBetween(min, max));
    for (int number = -1300; number <= 1300; ++number) EXPECT_EQ(matcher.matches(std::to_string(number)), number >= min && number <= max) << number << " in " << min << ".." << max;
    EXPECT_FALSE(matcher.matches("007"));
  }
}

// Whatever is drawn from the grammar is JSON of the schema.
TEST(JsonSchemaDrawn, TextsAreValid) {
  const auto schema = OrderedJson::parse(R"({"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}, "n": {"type": "integer", "minimum": 3, "maximum": 4711},
    "list": {"type": "array", "items": {"enum": ["x", "y"]}, "maxItems": 3}, "any": {}}, "required": ["name", "n", "list"]})");
  std::vector<std::string> bytes;
  for (int c = 0; c < 256; ++c) bytes.push_back(std::string(1, static_cast<char>(c)));
  bytes.push_back("");   // 256: the end
  bytes.insert(bytes.end(), {"{\"", "\":", "\": ", ", \"", "\"}", "]}", "name", "true", "12"});
  const auto vocabulary = std::make_shared<const Vocabulary>(bytes, std::vector<int32_t>{256});
  std::mt19937 random(3);
  int ended = 0;
  for (int round = 0; round < 200; ++round) {
    auto constraint = GrammarConstraint::create(*schemaGrammar(schema, "schema"), vocabulary);
    ASSERT_TRUE(constraint.ok());
    std::string text;
    for (int step = 0; step < 400; ++step) {
      std::vector<uint32_t> mask((bytes.size() + 31) / 32);
      (*constraint)->allowed(mask);
      std::vector<int32_t> allowed;
      for (size_t id = 0; id < bytes.size(); ++id) {
        if (mask[id / 32] >> (id % 32) & 1) allowed.push_back(static_cast<int32_t>(id));
      }
      ASSERT_FALSE(allowed.empty()) << text;
      const int32_t token = allowed[random() % allowed.size()];
      ASSERT_TRUE((*constraint)->accept(token).ok());
      if (token == 256) {
        const auto value = OrderedJson::parse(text, nullptr, false);
        ASSERT_TRUE(value.is_object()) << text;
        EXPECT_TRUE(value["name"].is_string()) << text;
        EXPECT_TRUE(value["n"].is_number_integer() && value["n"] >= 3 && value["n"] <= 4711) << text;
        EXPECT_LE(value["list"].size(), 3u) << text;
        ++ended;
        break;
      }
      text += bytes[static_cast<size_t>(token)];
    }
  }
  EXPECT_GT(ended, 100);
}

}  // namespace
}  // namespace exo::serve
