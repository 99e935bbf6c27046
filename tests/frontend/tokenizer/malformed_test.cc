// Untrusted files and texts: one clear error each.
#include "tests/frontend/tokenizer/test_files.h"

namespace exo::tokenizer {
namespace {

using namespace testing;
using nlohmann::json;

/// The error of loading; the test fails when it loads or when the message lacks `part`.
void expectError(const std::string& text, const std::string& part, ErrorCode code = ErrorCode::kInvalidInput,
                 std::string_view config = {}) {
  const auto tokenizer = Tokenizer::parse(text, config);
  ASSERT_FALSE(tokenizer.ok()) << "loaded, expected an error with: " << part;
  EXPECT_NE(tokenizer.error().message().find(part), std::string::npos) << tokenizer.error().message();
  EXPECT_EQ(tokenizer.error().code(), code) << tokenizer.error().message();
}
void expectError(const json& file, const std::string& part, ErrorCode code = ErrorCode::kInvalidInput) {
  expectError(file.dump(), part, code);
}
void expectRefused(const json& file, const std::string& part) { expectError(file, part, ErrorCode::kUnsupported); }

TEST(MalformedTokenizer, NotJsonOrNotAnObject) {
  const std::string good = tinyTokenizer().dump();
  for (const size_t size : {size_t{0}, size_t{1}, good.size() / 2, good.size() - 1}) {
    expectError(good.substr(0, size), "not valid JSON");
  }
  expectError(std::string("[1]"), "must be an object");
  expectError(std::string("{\"version\": 1e999}"), "not valid JSON");
  expectError(std::string("{\"version\": \"\\ud800\"}"), "not valid JSON");
  expectError(std::string(1'000'000, '['), "not valid JSON");
}

TEST(MalformedTokenizer, UnknownFieldsAreRefusedByName) {
  auto file = tinyTokenizer();
  file["surprise"] = 1;
  expectRefused(file, "surprise");
  file = tinyTokenizer();
  file["model"]["surprise"] = 1;
  expectRefused(file, "surprise");
  file = tinyTokenizer();
  file["decoder"]["surprise"] = 1;
  expectRefused(file, "surprise");
}

TEST(MalformedTokenizer, WhatIsNotDoneIsRefusedByName) {
  struct Case {
    const char* where;
    const char* type;
  };
  for (const Case& c : {Case{"normalizer", "Precompiled"}, Case{"normalizer", "BertNormalizer"},
                        Case{"pre_tokenizer", "UnicodeScripts"}, Case{"post_processor", "BertProcessing"},
                        Case{"decoder", "WordPiece"}, Case{"model", "Unigram"}}) {
    auto file = tinyTokenizer();
    file[c.where] = {{"type", c.type}};
    expectRefused(file, c.type);
  }
  const json refused = {{"dropout", 0.1}, {"end_of_word_suffix", "</w>"}, {"continuing_subword_prefix", "##"}};
  for (const auto& [key, value] : refused.items()) {
    auto file = tinyTokenizer();
    file["model"][key] = value;
    expectRefused(file, key);
  }
}

TEST(MalformedTokenizer, WrongTypes) {
  for (const char* key : {"model", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder"}) {
    for (const json& wrong : {json(7), json("x"), json(true), json(json::array({1}))}) {
      auto file = tinyTokenizer();
      file[key] = wrong;
      expectError(file, key);
    }
  }
  for (const char* key : {"vocab", "merges", "byte_fallback", "unk_token"}) {
    auto file = tinyTokenizer();
    file["model"][key] = 7;
    expectError(file, key);
  }
}

TEST(MalformedTokenizer, BadIds) {
  for (const json& id : {json(-1), json(4194304), json(18446744073709551615ull), json(1.5), json("1"), json(nullptr)}) {
    auto file = tinyTokenizer();
    file["model"]["vocab"]["bad"] = id;
    expectError(file, "must be an integer from 0 to 4194303");
    file = tinyTokenizer();
    file["added_tokens"].push_back(addedToken(0, "<x>"));
    file["added_tokens"][0]["id"] = id;
    expectError(file, "added_tokens[0].id");
  }
}

TEST(MalformedTokenizer, DuplicateIds) {
  auto file = tinyTokenizer();
  file["model"]["vocab"]["twin"] = 'a';
  expectError(file, "belongs to two tokens");
  file = tinyTokenizer();
  file["added_tokens"].push_back(addedToken('a', "<x>"));
  expectError(file, "belongs to two tokens");
  file = tinyTokenizer();
  file["added_tokens"].push_back(addedToken(900, "a"));
  expectError(file, "has two ids");
}

TEST(MalformedTokenizer, BadMerges) {
  for (const json& merge : {json("ab"), json("a b c"), json({"a"}), json({"a", "b", "c"}), json(7), json({1, 2})}) {
    auto file = tinyTokenizer();
    file["model"]["merges"].push_back(merge);
    expectError(file, "model.merges[0]");
  }
  for (const char* merge : {"a é", "é a", "a b"}) {  // the last: "ab" is no token
    auto file = tinyTokenizer();
    file["model"]["merges"].push_back(merge);
    expectError(file, "is not in it");
  }
}

TEST(MalformedTokenizer, BadTemplates) {
  const json good = json::parse(R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"a","type_id":0}},
      {"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":{"a":{"id":"a","ids":[97],"tokens":["a"]}}})");
  auto file = tinyTokenizer();
  file["post_processor"] = good;
  EXPECT_EQ(mustEncode(mustParse(file), "x", AddSpecial::kYes), (std::vector<int32_t>{97, 'x'}));
  file["post_processor"]["special_tokens"]["a"]["ids"] = {4000};
  expectError(file, "the id of a token");
  file["post_processor"] = good;
  file["post_processor"]["special_tokens"].erase("a");
  expectError(file, "special_tokens.a");
  file["post_processor"] = good;
  file["post_processor"]["single"].erase(1);
  expectError(file, "the sequence A");
  file["post_processor"]["single"] = "$A";
  expectError(file, "must be a list");
}

TEST(MalformedTokenizer, DeepNestingIsRefused) {
  const json lists = {{"normalizer", "normalizers"}, {"pre_tokenizer", "pretokenizers"},
                      {"post_processor", "processors"}, {"decoder", "decoders"}};
  for (const auto& [where, list] : lists.items()) {
    json node = {{"type", "Sequence"}, {list.get<std::string>(), json::array()}};
    for (int i = 0; i < 40; ++i) node = {{"type", "Sequence"}, {list.get<std::string>(), json::array({node})}};
    auto file = tinyTokenizer();
    file[where] = node;
    expectRefused(file, "deep nesting");
  }
}

TEST(MalformedTokenizer, DecodersThatCannotStreamAreRefused) {
  auto file = tinyTokenizer();
  file["decoder"] = json::parse(R"({"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"ByteFallback"}]})");
  expectRefused(file, "behind Fuse");
  file["decoder"] = json::parse(R"({"type":"Replace","pattern":{"Regex":"a"},"content":"b"})");
  expectRefused(file, "regular expression");
}

TEST(MalformedTokenizer, CatastrophicExpressionEndsInAnErrorOfEncode) {
  auto file = tinyTokenizer();
  file["pre_tokenizer"] = json::parse(R"({"type":"Split","pattern":{"Regex":"(a|aa)+[bc]"},"behavior":"Isolated","invert":false})");
  const Tokenizer tokenizer = mustParse(file);
  const auto ids = tokenizer.encode(std::string(5000, 'a'), Specials::kParse, AddSpecial::kNo);
  ASSERT_FALSE(ids.ok());
  EXPECT_EQ(ids.error().code(), ErrorCode::kTimeout) << ids.error().message();
}

TEST(MalformedTokenizer, ReplaceBombEndsInAnErrorOfEncode) {
  auto file = tinyTokenizer();
  const json step = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(1000, 'a')}};
  file["normalizer"] = {{"type", "Sequence"}, {"normalizers", json::array({step, step, step, step, step})}};
  const auto ids = mustParse(file).encode("aaaa", Specials::kParse, AddSpecial::kNo);
  ASSERT_FALSE(ids.ok());
  EXPECT_NE(ids.error().message().find("too long"), std::string::npos) << ids.error().message();
}

TEST(MalformedConfig, Errors) {
  const std::string good = tinyTokenizer().dump();
  expectError(good, "not valid JSON", ErrorCode::kInvalidInput, "{");
  expectError(good, "is not in tokenizer.json", ErrorCode::kInvalidInput, R"({"eos_token": "<none>"})");
  expectError(good, "bos_token must be a string", ErrorCode::kInvalidInput, R"({"bos_token": 7})");
  expectError(good, "there is no bos_token", ErrorCode::kInvalidInput, R"({"add_bos_token": true})");
  expectError(good, "must be an id", ErrorCode::kInvalidInput, R"({"added_tokens_decoder": {"-3": {"content": "x"}}})");
}

TEST(MalformedText, InvalidUtf8IsAnErrorWithItsOffset) {
  const Tokenizer tokenizer = mustParse(tinyTokenizer());
  for (const char* text : {"ab\xFF", "ab\xC3", "ab\xC0\x80", "ab\xED\xA0\x80", "ab\xF4\x90\x80\x80"}) {
    const auto ids = tokenizer.encode(text, Specials::kParse, AddSpecial::kNo);
    ASSERT_FALSE(ids.ok());
    EXPECT_EQ(ids.error().message(), "text is not valid UTF-8 at byte 2");
  }
}

TEST(LoadTokenizer, MissingDirectoryNamesThePath) {
  const auto tokenizer = Tokenizer::load("/nonexistent/model");
  ASSERT_FALSE(tokenizer.ok());
  EXPECT_EQ(tokenizer.error().code(), ErrorCode::kIo);
  EXPECT_NE(tokenizer.error().message().find("/nonexistent/model/tokenizer.json"), std::string::npos);
}

}  // namespace
}  // namespace exo::tokenizer
