// Which tokens may come next: what a grammar (JSON schema, regular expression, tool call) is to the engine. One object belongs
// to one request and follows its answer; whoever compiles grammars implements it.
#pragma once

#include <cstdint>
#include <span>

#include "ir/base/result.h"

namespace exo::serve {

/// Called by the engine's thread, one call at a time. Between two steps all ranks wait for it: masks want well below a
/// millisecond.
class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;

  /// Sets bit (id % 32) of word (id / 32) for every token that may come next, and clears all others. End-of-sequence ids are tokens
  /// like others: their bits say whether the answer may end here. No bit at all ends the request with an error.
  /// `allowed` has (vocab_size + 31) / 32 words of unspecified content; bits beyond the vocabulary are ignored.
  virtual void allowed(std::span<uint32_t> allowed) = 0;

  /// The token that was chosen, one of those allowed; a token that ends the answer comes too. An error (of scope kRequest) ends the request.
  virtual Status accept(int32_t token) = 0;
};

}  // namespace exo::serve
