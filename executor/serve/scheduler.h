// Which tokens of which sequences make the next step. No time and no threads: the same calls give the same steps.
//
// - Every sequence that decodes has its token in every step.
// - The rest of the step goes to prompts, by turn: arrival, and priority counted as earlier arrival, so that everyone's turn comes.
// - A sequence is let in when pages for all its tokens can be had, whole and at once, and a step has room for one more that decodes;
//   whoever is behind waits until then.
// - Where a decoding sequence finds no page for its next token, the last in turn gives up its own, and is computed anew later
//   (mostly from its own published pages); the text is the same, since a position's choice depends on nothing else.
// - What is computed is published page by page, and looked for at every page's beginning: a prompt that waits while another with
//   the same beginning is computed takes that.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "executor/runtime/step.h"
#include "executor/serve/page_cache.h"
#include "executor/serve/sequence.h"
#include "ir/base/result.h"

namespace exo::serve {

struct StepPart {
  Sequence* sequence = nullptr;
  int64_t tokens = 0;       // from position sequence->computed
  int64_t rows = 0;         // of logits; more than 0 when the part reaches the last token that is known, or all_rows
};

struct StepPlan {
  std::vector<StepPart> parts;                          // in order of the step; empty: nothing can run
  std::vector<std::pair<Sequence*, Error>> failed;      // cannot run, even alone; they are out of the scheduler
  int64_t decoding = 0;                                 // of the parts
  int64_t prompt_tokens = 0;                            // of the other parts
};

class Scheduler {
 public:
  explicit Scheduler(const runtime::StepLimits& limits);

  /// Sequences are the caller's and stay where they are until remove() or failure.
  void add(Sequence* sequence);
  void remove(Sequence* sequence);

  /// The next step. `prompt_tokens`: of prompts, at most, in a step that decodes too.
  StepPlan plan(int64_t prompt_tokens);
  /// The step was run: its tokens are computed. Chosen tokens are appended by the caller.
  void done(const StepPlan& plan);

  int64_t numWaiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t numRunning() const { return static_cast<int64_t>(running_.size()); }
  uint64_t preemptions() const { return preemptions_; }
  const PageCache& pages() const { return pages_; }

 private:
  struct ByTurn {
    bool operator()(const Sequence* a, const Sequence* b) const { return a->turn < b->turn; }
  };
  using Queue = std::set<Sequence*, ByTurn>;

  void planDecoding(StepPlan& plan);
  void planPrompts(StepPlan& plan, int64_t budget);
  bool hasRoomFor(const Sequence& sequence) const;
  bool admit(Sequence* sequence, StepPlan& plan);
  bool makeRoomForToken(Sequence* sequence, StepPlan& plan);
  void preempt(Sequence* sequence, StepPlan& plan);
  void takeOver(Sequence* sequence);
  void publish(Sequence* sequence);
  void giveBack(Sequence* sequence);
  int64_t pagesFor(int64_t tokens) const { return (tokens + limits_.page_tokens - 1) / limits_.page_tokens; }
  StepPart partOf(Sequence* sequence, int64_t most_tokens, int64_t most_rows) const;
  Error tooLarge(const Sequence& sequence) const;

  runtime::StepLimits limits_;
  PageCache pages_;
  Queue waiting_, running_;
  int64_t running_rows_ = 0;     // of logits, should all that run choose a token in one step
  uint64_t preemptions_ = 0;
};

}  // namespace exo::serve
