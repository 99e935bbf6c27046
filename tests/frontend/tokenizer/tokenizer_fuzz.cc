// Fuzzing entry: the bytes are a tokenizer.json; when it loads, a text goes through it and back.
// Whatever the bytes: an Error or a tokenizer, bounded time and memory, valid UTF-8 out, stream and whole decoding equal.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "frontend/tokenizer/tokenizer.h"
#include "frontend/tokenizer/utf8.h"

namespace {

constexpr std::string_view kText = "Hello  wörld, it's 1234 \n\n<s>[INST] ▁日本語 👩‍👧 </s>\t<|im_end|> aaaaaaaaaaaaaaaaaaaaaaaa";

void require(bool condition) {
  if (!condition) std::abort();
}

void roundTrip(const exo::tokenizer::Tokenizer& tokenizer, exo::tokenizer::Specials specials) {
  using namespace exo::tokenizer;
  const auto ids = tokenizer.encode(kText, specials, AddSpecial::kYes);
  if (!ids.ok()) return;
  for (const SkipSpecial skip : {SkipSpecial::kNo, SkipSpecial::kYes}) {
    const std::string whole = tokenizer.decode(*ids, skip);
    require(!firstInvalidUtf8(whole));
    StreamDecoder stream(tokenizer, skip);
    std::string pieces;
    for (const int32_t id : *ids) {
      const std::string piece = stream.push(id);
      require(!firstInvalidUtf8(piece));
      pieces += piece;
    }
    require(pieces + stream.finish() == whole);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace exo::tokenizer;
  const auto tokenizer = Tokenizer::parse({reinterpret_cast<const char*>(data), size});
  if (!tokenizer.ok()) return 0;
  require(tokenizer->vocabSize() >= 0);
  for (const Specials specials : {Specials::kParse, Specials::kAsText}) roundTrip(*tokenizer, specials);
  return 0;
}
