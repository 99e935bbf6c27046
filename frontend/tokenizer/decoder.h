// The "decoder" of a tokenizer file as a chain of stages that take one token after the other and write text as soon as it
// cannot change any more. The stages have state: one chain per stream. What a stage writes is always whole UTF-8 sequences.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "frontend/tokenizer/json_reader.h"

namespace exo::tokenizer {

/// What comes out of a stage: still one piece per token, or fragments of one text.
enum class Pieces { kTokens, kFragments };

struct ByteLevelDecoder {};                          // byte alphabet → bytes → text, broken sequences as U+FFFD
struct ByteFallbackDecoder {};                       // "<0xE2>" … → text; a run that is not valid UTF-8: U+FFFD per byte
struct FuseDecoder {};                               // from here on one text
struct ReplaceDecoder { std::string from, to; };     // in every piece
struct StripDecoder { std::string content; size_t start, stop; };  // at most that many characters at the ends of a piece
struct MetaspaceDecoder { std::string replacement; bool drop_in_first; };
struct JoinDecoder {};                               // no decoder in the file: a space between tokens
using DecoderStep =
    std::variant<ByteLevelDecoder, ByteFallbackDecoder, FuseDecoder, ReplaceDecoder, StripDecoder, MetaspaceDecoder, JoinDecoder>;

/// The steps in order. Error kUnsupported names what is not done.
Result<std::vector<DecoderStep>> parseDecoder(const JsonNode& node);

/// The bytes that one piece stands for, wherever in a text it is; several pieces may spell one character.
std::string bytesOfPiece(const std::vector<DecoderStep>& steps, std::string_view piece);

class DecoderStage {
 public:
  using Sink = std::vector<std::string>;
  virtual ~DecoderStage() = default;
  /// Appends the pieces that are settled by now.
  virtual void push(std::string_view piece, Sink& out) = 0;
  /// No more pieces come: appends what was held back.
  virtual void finish(Sink&) {}
};

/// A whole chain, for one stream of tokens.
class DecoderChain {
 public:
  explicit DecoderChain(const std::vector<DecoderStep>& steps);
  std::string push(std::string_view token);
  std::string finish();

 private:
  void pushFrom(size_t stage, std::string_view piece, std::string& out);
  std::vector<std::unique_ptr<DecoderStage>> stages_;
};

}  // namespace exo::tokenizer
