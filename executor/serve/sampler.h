// The next token from what the ranks found out about its row of logits, without any of them seeing the whole.
//
// Before the step, rank 0 says what each row is for (codegen/logits.h): penalties, biases and masks, which every rank applies to its part of the
// vocabulary; whether sums over the whole vocabulary are wanted; whether the ranks draw themselves. After it, rank 0 has the k
// best tokens of the whole vocabulary (k = Kernel.top_k of the program, 64) or the drawn one, and the sums.
//
//   temperature alone                              drawn by the ranks from the whole distribution: exact
//   greedy, top_k up to k                          from the candidates: exact
//   top_p, typical_p                               among the candidates, with probabilities of the whole vocabulary: exact as long as
//                                                  the tokens to choose from are candidates, else cut off at k
//   min_p                                          exact if at most k tokens pass it (always from 1/k on), else cut off at k
//   top_k above k                                  refused by name, unless it is the whole vocabulary
//   log-probabilities                              of the raw row, over the whole vocabulary: exact. It is a second row of the head
//                                                  unless the request is greedy without penalties, biases and constraint
//
// Random numbers are a function of seed and position: the same request gives the same answer in any batch.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "codegen/logits.h"
#include "executor/serve/sampling.h"
#include "ir/base/result.h"

namespace exo::serve {

/// What the ranks found out about one row.
struct RowResult {
  std::span<const float> values;               // [k] best first; of a drawn row: only the first counts
  std::span<const int32_t> ids;                // -1: none
  codegen::RowStatistics statistics;           // where they were asked for
};

struct ScoredToken {
  int32_t id = 0;
  float logprob = 0;
};
struct Choice {
  ScoredToken token;                           // logprob: 0 unless asked for
  std::vector<ScoredToken> alternatives;       // likeliest first
};

/// Chooses the tokens of one answer.
class Sampler {
 public:
  struct Options {
    std::optional<int> logprobs;               // and of how many alternatives
    bool constrained = false;                  // masks will come
    std::vector<int32_t> forbidden_first;      // tokens that may not come ...
    int64_t forbidden_until = 0;               // ... before this many are chosen
  };
  /// `parameters` are valid and have a seed, unless greedy.
  Sampler(SamplingParameters parameters, Options options, std::span<const int32_t> prompt, int64_t vocab_size);

  /// Rows of logits that one choice takes: 1, or 2 with the raw one first.
  int64_t rows() const { return rows_; }

  /// Whether rows are changed by penalties, biases or forbidden tokens.
  bool edits() const;

  /// Appends the controls of the rows of the next choice, of the token at `position`; and their edits. A mask of the last row is
  /// the caller's to set. False, and nothing is appended, if the row is taken as it is.
  bool addControls(uint64_t position, std::vector<codegen::RowControl>& controls, std::vector<codegen::LogitEdit>& edits) const;

  /// results: of rows() rows, in their order. kMismatch when there is nothing to choose from: broken logits; kInvalidInput where a constraint
  /// allows nothing.
  Result<Choice> choose(uint64_t position, std::span<const RowResult> results) const;

  /// The token is part of the answer now.
  void accept(int32_t token);

 private:
  struct Candidate {
    float value;
    int32_t id;
    double probability;   // of the distribution it is drawn from; need not be normalised
  };
  enum class Way { kGreedy, kDraw, kCandidates };

  void count(int32_t token, bool in_answer);
  codegen::LogitEdit editOf(int32_t token) const;
  Result<std::vector<Candidate>> candidatesOf(const RowResult& row) const;
  Candidate pick(std::vector<Candidate> candidates, const codegen::RowStatistics& statistics, uint64_t position) const;
  float rawLogit(int32_t token, float edited) const;
  void addLogprobs(Choice& choice, const RowResult& raw, float raw_logit) const;

  struct Seen {
    int64_t in_answer = 0;
    bool anywhere = false;                     // in prompt or answer
    float bias = 0;
    bool forbidden = false;
  };
  SamplingParameters parameters_;
  Options options_;
  int64_t vocab_size_, chosen_ = 0, rows_ = 1;
  Way way_;
  bool whole_sums_ = false;                    // statistics are wanted for the choice itself
  std::map<int32_t, Seen> seen_;               // what edits are made of, by id
};

}  // namespace exo::serve
