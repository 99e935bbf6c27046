#include "frontend/config/json_reader.h"

#include <gtest/gtest.h>

namespace exo {
namespace {

JsonObject rootOf(const Json& json) { return *JsonObject::root(json, "config.json"); }

TEST(ParseJson, KeepsTheLastOfEqualKeysUnlessToldToRefuse) {
  EXPECT_EQ((*parseJson(R"({"a": 1, "a": 2})", "f"))["a"], 2);
  const auto refused = parseJson(R"({"b": {"a": 1}, "a": {"a": 2, "c": 1, "a": 3}})", "f", {}, DuplicateKeys::kRefuse);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message(), "f: expected unique keys, got \"a\" twice");
  EXPECT_TRUE(parseJson(R"({"b": {"a": 1}, "a": {"a": 2}})", "f", {}, DuplicateKeys::kRefuse).ok());
}

TEST(ParseJson, LimitsSizeDepthAndValues) {
  EXPECT_TRUE(parseJson(std::string(100, '[') + std::string(100, ']'), "f").ok());
  const auto deep = parseJson(std::string(101, '[') + std::string(101, ']'), "f");
  ASSERT_FALSE(deep.ok());
  EXPECT_EQ(deep.error().message(), "f: expected JSON nested at most 100 deep, got more at byte 100");
  EXPECT_FALSE(parseJson(std::string(1'000'000, '['), "f").ok());
  EXPECT_TRUE(parseJson("\"" + std::string(1000, '[') + "\"", "f").ok()) << "brackets in a string are not depth";
  EXPECT_FALSE(parseJson("[1,2,3]", "f", {.max_bytes = 6}).ok());
  EXPECT_FALSE(parseJson("[1,2,3,4]", "f", {.max_values = 3}).ok());
}

TEST(ParseJson, RefusesWhatIsNotJson) {
  for (const char* text : {"", "{", "{\"a\": NaN}", "{\"a\": Infinity}", "{\"a\": 1e999}", "{} x", "{'a': 1}", "\"\xff\""})
    EXPECT_FALSE(parseJson(text, "f").ok()) << text;
}

TEST(JsonObject, ErrorsNamePathExpectationAndValue) {
  const Json json = Json::parse(R"({"n": "eight", "s": {"factor": -1}, "list": [1, "x"], "null": null, "f": 1.5,
                                    "big": 18446744073709551615})");
  const JsonObject root = rootOf(json);
  EXPECT_EQ(root.integer("n", {.min = 1}).error().message(), "config.json: n: expected an integer ≥ 1, got \"eight\"");
  EXPECT_EQ(root.integer("missing").error().message(), "config.json: missing: expected an integer, but it is missing");
  EXPECT_EQ(root.integer("null").error().message(), "config.json: null: expected an integer, but it is null");
  EXPECT_EQ(root.integer("f").error().message(), "config.json: f: expected an integer, got 1.5");
  EXPECT_EQ(root.integer("big", {1, 9}).error().message(),
            "config.json: big: expected an integer from 1 to 9, got 18446744073709551615");
  EXPECT_EQ(root.object("s")->number("factor", {.min = 1}).error().message(),
            "config.json: s.factor: expected a number ≥ 1, got -1");
  EXPECT_EQ(root.findIntegers("list").error().message(), "config.json: list[1]: expected an integer, got \"x\"");
  EXPECT_EQ(root.booleanOr("n", true).error().message(), "config.json: n: expected true or false, got \"eight\"");
  EXPECT_EQ(root.string("f").error().message(), "config.json: f: expected a string, got 1.5");
  EXPECT_EQ(JsonObject::root(json["list"], "f").error().message(), "f: expected a JSON object, got [1,\"x\"]");
}

TEST(JsonObject, NullIsAbsent) {
  const Json json = Json::parse(R"({"a": null, "b": 7, "c": true, "d": 2})");
  const JsonObject root = rootOf(json);
  EXPECT_EQ(*root.findInteger("a"), std::nullopt);
  EXPECT_EQ(*root.integerOr("a", 3), 3);
  EXPECT_EQ(*root.integerOr("b", 3), 7);
  EXPECT_TRUE(root.contains("a"));
  EXPECT_FALSE(root.has("a"));
  EXPECT_EQ(*root.number("d"), 2.0) << "an integer is a number";
  EXPECT_FALSE(root.integer("c").ok()) << "true is no integer";
}

TEST(JsonObject, UnknownKeysGetASuggestion) {
  const Json json = Json::parse(R"({"nmae": 1})");
  EXPECT_EQ(rootOf(json).refuseUnknown({"name", "size"}).error().message(),
            "config.json: nmae: unknown key; did you mean \"name\"?");
}

TEST(JsonObject, LongValuesAreCutInMessages) {
  EXPECT_LT(describe(Json(std::string(100'000, 'x'))).size(), 100u);
  EXPECT_EQ(describe(Json(std::vector<int>(1000, 1))), "a list of 1000 values");
  EXPECT_EQ(describe(Json("\xff")), "\"\\ufffd\"");
}

TEST(ReadJsonFile, RefusesMissingFilesAndFolders) {
  EXPECT_EQ(readJsonFile("/nowhere/at/all.json").error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(readJsonFile(EXO_TEST_DATA).error().code(), ErrorCode::kInvalidInput);
}

}  // namespace
}  // namespace exo
