// Files for the tests: ours under tests/data, third parties' under the folder that EXO_SHARED names.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>

#include "frontend/tokenizer/tokenizer.h"

namespace exo::tokenizer::testing {

inline std::string readText(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline nlohmann::json readJson(const std::filesystem::path& path) { return nlohmann::json::parse(readText(path)); }

inline std::filesystem::path ownTokenizer(const std::string& name) {
  return std::filesystem::path(EXO_TEST_DATA) / ("tokenizer_" + name);
}

inline std::optional<std::filesystem::path> sharedFolder() {
  const char* folder = std::getenv("EXO_SHARED");
  if (!folder || !*folder) return std::nullopt;
  return std::filesystem::path(folder);
}

inline std::vector<int32_t> mustEncode(const Tokenizer& tokenizer, std::string_view text, AddSpecial add = AddSpecial::kNo,
                                       Specials specials = Specials::kParse) {
  auto ids = tokenizer.encode(text, specials, add);
  if (!ids.ok()) {
    ADD_FAILURE() << ids.error().message();
    return {};
  }
  return std::move(ids).value();
}

/// A tokenizer whose vocabulary is the ASCII characters and "▁" with their code points (▁: 128), the tokens of `merges`
/// ("a b" → "ab" = 129, …) and the given components.
inline nlohmann::json tinyTokenizer(const std::vector<std::string>& merges = {}) {
  nlohmann::json vocab;
  for (int c = 1; c < 128; ++c) vocab[std::string(1, static_cast<char>(c))] = c;
  vocab["▁"] = 128;
  int id = 129;
  for (std::string merge : merges) {
    merge.erase(merge.find(' '), 1);
    vocab[merge] = id++;
  }
  return {{"version", "1.0"},
          {"added_tokens", nlohmann::json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer", nullptr},
          {"post_processor", nullptr},
          {"decoder", {{"type", "Fuse"}}},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}}};
}

inline nlohmann::json addedToken(int id, const std::string& content) {
  return {{"id", id},          {"content", content}, {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

inline Tokenizer mustParse(const nlohmann::json& json, std::string_view config = {}) {
  auto tokenizer = Tokenizer::parse(json.dump(), config);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.error().message();
  return std::move(tokenizer).value();
}

}  // namespace exo::tokenizer::testing
