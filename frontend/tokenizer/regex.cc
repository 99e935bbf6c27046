#define PCRE2_CODE_UNIT_WIDTH 8
#include "frontend/tokenizer/regex.h"

#include <pcre2.h>

#include <algorithm>

#include "frontend/tokenizer/utf8.h"

namespace exo::tokenizer {
namespace {

constexpr size_t kMaxPatternBytes = 16 * 1024;
// One search step tries only so many start positions that starts × remaining text stays below this, then the clock is looked
// at: the match limit does not count all loops of JIT code ("(?:a)+?[bc]" over a megabyte of "a" is 10^12 uncounted steps).
constexpr size_t kStepsPerSearch = size_t{1} << 26;
constexpr size_t kMinStartsPerSearch = 16, kMaxStartsPerSearch = 4096;
constexpr size_t kMatchesPerClockLook = 256;
constexpr uint32_t kMinMatchLimit = 10'000'000;
constexpr uint32_t kHeapLimitKiB = 256 * 1024;

template <class T, void (*destroy)(T*)>
struct Destroy {
  void operator()(T* object) const { destroy(object); }
};
using CompileContext = std::unique_ptr<pcre2_compile_context, Destroy<pcre2_compile_context, pcre2_compile_context_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Destroy<pcre2_match_context, pcre2_match_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Destroy<pcre2_match_data, pcre2_match_data_free>>;

std::string pcreMessage(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof(buffer));
  return reinterpret_cast<const char*>(buffer);
}

/// One pass over one text: the PCRE2 objects it needs and the position of the next search.
class Search {
 public:
  Search(const pcre2_code* code, std::string_view text)
      : code_(code), text_(text), context_(pcre2_match_context_create(nullptr)), data_(pcre2_match_data_create(1, nullptr)) {
    EXO_CHECK(context_ && data_) << "out of memory";
    const size_t limit = std::clamp<size_t>(text.size() * 16, kMinMatchLimit, UINT32_MAX);
    pcre2_set_match_limit(context_.get(), static_cast<uint32_t>(limit));
    pcre2_set_heap_limit(context_.get(), kHeapLimitKiB);
  }

  /// How many bytes behind `from` match(from) looks for the begin of a match.
  size_t starts(size_t from) const {
    return std::clamp(kStepsPerSearch / (text_.size() - from + 1), kMinStartsPerSearch, kMaxStartsPerSearch);
  }

  /// The PCRE2 return code of a match that begins at `from` or at most starts(from) bytes behind it.
  int match(size_t from) {
    pcre2_set_offset_limit(context_.get(), from + starts(from));
    const int code = run(from, PCRE2_NO_UTF_CHECK);
    // The interpreter keeps its backtracking points on the heap, where heap_limit bounds them.
    return code == PCRE2_ERROR_JIT_STACKLIMIT ? run(from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT) : code;
  }

  ByteRange range() const {
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(data_.get());
    return {std::min(bounds[0], bounds[1]), bounds[1]};  // \K in a lookahead can put the begin behind the end
  }

 private:
  int run(size_t from, uint32_t options) {
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text_.data());
    return pcre2_match(code_, subject, text_.size(), from, options, data_.get(), context_.get());
  }

  const pcre2_code* code_;
  std::string_view text_;
  MatchContext context_;
  MatchData data_;
};

size_t nextBoundary(std::string_view text, size_t position) {
  while (position < text.size() && (text[position] & 0xC0) == 0x80) ++position;
  return position;
}

}  // namespace

Regex::Regex(std::string pattern, pcre2_real_code_8* code)
    : pattern_(std::move(pattern)), code_(code, [](pcre2_real_code_8* c) { pcre2_code_free(c); }) {}

Result<Regex> Regex::compile(const std::string& pattern) {
  if (pattern.size() > kMaxPatternBytes) {
    return invalid("regular expression of ", pattern.size(), " bytes, at most ", kMaxPatternBytes, " are allowed");
  }
  EXO_ASSIGN(const std::string translated, translateRegex(pattern));
  CompileContext context(pcre2_compile_context_create(nullptr));
  EXO_CHECK(context) << "out of memory";
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  const uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_USE_OFFSET_LIMIT | PCRE2_NEVER_BACKSLASH_C;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(), options, &error,
                                   &offset, context.get());
  if (!code) {
    return invalid("regular expression \"", pattern, "\" does not compile: ", pcreMessage(error), " (at ", offset, " of \"",
                   translated, "\")");
  }
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where there is no JIT the interpreter does the same, slower
  return Regex(pattern, code);
}

Result<std::vector<ByteRange>> Regex::findAll(std::string_view text, Deadline deadline) const {
  std::vector<ByteRange> matches;
  Search search(code_.get(), text);
  const auto late = [&] { return std::chrono::steady_clock::now() > deadline; };
  size_t position = 0;
  while (position <= text.size()) {
    const int code = search.match(position);
    const bool look = code == PCRE2_ERROR_NOMATCH || matches.size() % kMatchesPerClockLook == 0;
    if (look && late()) {
      return makeError(ErrorCode::kTimeout, "regular expression \"", pattern_, "\" takes too long on a text of ", text.size(),
                       " bytes");
    }
    if (code == PCRE2_ERROR_NOMATCH) {
      position = nextBoundary(text, position + search.starts(position) + 1);
      continue;
    }
    if (code < 0) {
      return makeError(ErrorCode::kTimeout, "regular expression \"", pattern_, "\" fails on a text of ", text.size(),
                       " bytes: ", pcreMessage(code));
    }
    const ByteRange range = search.range();
    const bool empty = range.begin == range.end;
    const bool behind_another = !matches.empty() && range.begin <= matches.back().end && range.end <= matches.back().end;
    if (empty && behind_another) {
      position = nextBoundary(text, std::max(position, range.end) + 1);
      continue;
    }
    if (behind_another) return invalid("regular expression \"", pattern_, "\" matches backwards");
    matches.push_back(range);
    position = range.end;
  }
  return matches;
}

}  // namespace exo::tokenizer
