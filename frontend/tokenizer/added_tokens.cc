#include "frontend/tokenizer/added_tokens.h"

#include <algorithm>

#include "frontend/tokenizer/utf8.h"

namespace exo::tokenizer {
namespace {

constexpr size_t kMaxTokenBytes = 1024;

size_t characterBefore(std::string_view text, size_t position) {
  do {
    --position;
  } while (position > 0 && (text[position] & 0xC0) == 0x80);
  return position;
}

bool standsAlone(std::string_view text, size_t begin, size_t end) {
  if (begin > 0) {
    size_t before = characterBefore(text, begin);
    if (isWord(nextCodePoint(text, before))) return false;
  }
  return end == text.size() || !isWord(nextCodePoint(text, end));
}

size_t withSpacesBefore(std::string_view text, size_t begin) {
  while (begin > 0) {
    const size_t before = characterBefore(text, begin);
    size_t position = before;
    if (!isSpace(nextCodePoint(text, position))) break;
    begin = before;
  }
  return begin;
}

size_t withSpacesBehind(std::string_view text, size_t end) {
  while (end < text.size()) {
    size_t position = end;
    if (!isSpace(nextCodePoint(text, position))) break;
    end = position;
  }
  return end;
}

}  // namespace

Result<AddedToken> AddedToken::parse(const JsonNode& node, std::optional<int64_t> id) {
  EXO_TRY(node.requireKeys({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special", "__type"}));
  AddedToken token{};
  EXO_ASSIGN(token.content, node.member("content").string());
  if (token.content.empty() || token.content.size() > kMaxTokenBytes) {
    return node.member("content").wrong("a string of 1 to " + std::to_string(kMaxTokenBytes) + " bytes");
  }
  if (id) {
    token.id = *id;
  } else {
    EXO_ASSIGN(token.id, node.member("id").index(kIdLimit));
  }
  EXO_ASSIGN(token.special, node.member("special").booleanOr(false));
  EXO_ASSIGN(token.single_word, node.member("single_word").booleanOr(false));
  EXO_ASSIGN(token.lstrip, node.member("lstrip").booleanOr(false));
  EXO_ASSIGN(token.rstrip, node.member("rstrip").booleanOr(false));
  EXO_ASSIGN(token.normalized, node.member("normalized").booleanOr(!token.special));
  return token;
}

void AddedTokenFinder::add(std::string_view content, const AddedToken& token) {
  if (content.empty()) return;
  uint32_t node = 0;
  for (const char byte : content) {
    const uint64_t edge = uint64_t{node} << 8 | static_cast<unsigned char>(byte);
    const auto [next, is_new] = edges_.try_emplace(edge, static_cast<uint32_t>(token_of_node_.size()));
    if (is_new) token_of_node_.push_back(-1);
    node = next->second;
  }
  if (token_of_node_[node] >= 0) return;  // normalisation made two tokens equal: the first one wins
  token_of_node_[node] = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
}

AddedTokenFinder::Match AddedTokenFinder::longestAt(std::string_view text, size_t position) const {
  Match best{nullptr, 0};
  uint32_t node = 0;
  for (size_t i = position; i < text.size(); ++i) {
    const auto next = edges_.find(uint64_t{node} << 8 | static_cast<unsigned char>(text[i]));
    if (next == edges_.end()) break;
    node = next->second;
    if (token_of_node_[node] >= 0) best = {&tokens_[static_cast<size_t>(token_of_node_[node])], i + 1 - position};
  }
  return best;
}

std::vector<AddedTokenFinder::Spelt> AddedTokenFinder::specialsIn(std::string_view text) const {
  std::vector<Spelt> found;
  for (size_t at = 0; at < text.size() && !tokens_.empty();) {
    const Match match = longestAt(text, at);
    if (match.token && match.token->special) found.push_back({static_cast<int32_t>(match.token->id), {at, at + match.size}});
    at += match.token ? match.size : 1;
  }
  return found;
}

std::vector<AddedTokenSpan> AddedTokenFinder::split(std::string_view text, std::span<const TextRange> quoted) const {
  std::vector<AddedTokenSpan> spans;
  size_t done = 0;
  for (size_t at = 0; at < text.size() && !tokens_.empty();) {
    const Match match = longestAt(text, at);
    if (!match.token) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + match.size;
    const TextRange* quote = match.token->special ? firstOverlap(quoted, begin, end) : nullptr;
    // One that begins or ends outside of its quote may hide another, of those around.
    const bool hides = quote && (quote->begin > begin || quote->end < end);
    at = hides ? begin + 1 : end;
    if (quote || (match.token->single_word && !standsAlone(text, begin, end))) continue;
    if (match.token->lstrip) begin = withSpacesBefore(text, begin);
    if (match.token->rstrip) end = withSpacesBehind(text, end);
    begin = std::max(begin, done);
    if (end <= done) continue;  // inside the spaces that the previous token took
    if (done < begin) spans.push_back({-1, done, begin});
    spans.push_back({static_cast<int32_t>(match.token->id), begin, end});
    done = end;
  }
  if (done < text.size()) spans.push_back({-1, done, text.size()});
  return spans;
}

Status AddedTokens::add(AddedToken token, Vocabulary& vocabulary) {
  EXO_TRY(vocabulary.add(token.content, token.id));
  const auto id = static_cast<int32_t>(token.id);
  if (!known_ids_.insert(id).second) return {};
  if (token.special) special_ids_.insert(id);
  tokens_.push_back(std::move(token));
  return {};
}

Status AddedTokens::finish(const Normalizer& normalizer) {
  const Deadline deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  for (const AddedToken& token : tokens_) {
    if (!token.normalized) {
      raw_.add(token.content, token);
      continue;
    }
    EXO_ASSIGN(const std::string content, normalizer.apply(token.content, deadline));
    if (content.size() > kMaxTokenBytes) return invalid("tokenizer: the added token \"", token.content, "\" becomes too long");
    normalized_.add(content, token);
    unnormalized_.add(token.content, token);
  }
  return {};
}

std::vector<TextRange> AddedTokens::normalizedQuotes(const QuotedText& text, std::string_view normal) const {
  if (text.quoted.empty() || text.text == normal) return text.quoted;
  const std::vector<TextRange> whole = {{0, normal.size()}};
  if (text.quoted.front() == TextRange{0, text.text.size()}) return whole;
  // Positions are not known behind a normalizer; tokens keep their order.
  const auto before = unnormalized_.specialsIn(text.text), behind = normalized_.specialsIn(normal);
  const auto is_same = [](const auto& a, const auto& b) { return a.id == b.id; };
  if (!std::equal(before.begin(), before.end(), behind.begin(), behind.end(), is_same)) return whole;
  std::vector<TextRange> quoted;
  for (size_t i = 0; i < before.size(); ++i)
    if (firstOverlap(text.quoted, before[i].range.begin, before[i].range.end)) quoted.push_back(behind[i].range);
  return quoted;
}

}  // namespace exo::tokenizer
