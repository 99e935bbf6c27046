#include "executor/serve/scheduler.h"

#include <algorithm>

namespace exo::serve {
namespace {

/// Nothing is chosen yet: what it finds saves it work, and is not its own coming back.
bool fresh(const Sequence& sequence) { return static_cast<int64_t>(sequence.tokens.size()) == sequence.prompt_length; }

}  // namespace

Scheduler::Scheduler(const runtime::StepLimits& limits) : limits_(limits), pages_(limits.num_pages, limits.page_tokens) {}

void Scheduler::add(Sequence* sequence) {
  EXO_CHECK(!sequence->tokens.empty() && !sequence->running && sequence->computed == 0);
  waiting_.insert(sequence);
}

void Scheduler::remove(Sequence* sequence) {
  waiting_.erase(sequence);
  if (running_.erase(sequence) > 0) giveBack(sequence);
}

void Scheduler::giveBack(Sequence* sequence) {
  while (!sequence->pages.empty()) {
    pages_.release(sequence->pages.back());
    sequence->pages.pop_back();
  }
  sequence->computed = sequence->published = 0;
  if (sequence->running) running_rows_ -= sequence->rows_per_token;
  sequence->running = false;
}

StepPlan Scheduler::plan(int64_t prompt_tokens) {
  StepPlan plan;
  planDecoding(plan);
  const int64_t room = limits_.max_tokens - static_cast<int64_t>(plan.parts.size());
  planPrompts(plan, plan.parts.empty() ? room : std::min(room, prompt_tokens));
  return plan;
}

void Scheduler::planDecoding(StepPlan& plan) {
  std::vector<Sequence*> decoding;
  for (Sequence* sequence : running_)
    if (sequence->decoding()) decoding.push_back(sequence);
  for (Sequence* sequence : decoding)
    if (sequence->running && makeRoomForToken(sequence, plan)) plan.parts.push_back({sequence, 1, sequence->rows_per_token});
  plan.decoding = static_cast<int64_t>(plan.parts.size());
}

/// False: the sequence is not running any more.
bool Scheduler::makeRoomForToken(Sequence* sequence, StepPlan& plan) {
  while (static_cast<int64_t>(sequence->pages.size()) < pagesFor(static_cast<int64_t>(sequence->tokens.size()))) {
    if (const std::optional<int32_t> page = pages_.take()) {
      sequence->pages.push_back(*page);
      continue;
    }
    if (running_.size() == 1) {
      plan.failed.emplace_back(sequence, tooLarge(*sequence));
      remove(sequence);
      return false;
    }
    Sequence* last = *running_.rbegin();
    preempt(last, plan);
    if (last == sequence) return false;
  }
  return true;
}

void Scheduler::preempt(Sequence* sequence, StepPlan& plan) {
  std::erase_if(plan.parts, [&](const StepPart& part) { return part.sequence == sequence; });
  running_.erase(sequence);
  giveBack(sequence);
  if (fresh(*sequence)) sequence->cached = 0;
  waiting_.insert(sequence);
  ++preemptions_;
}

Error Scheduler::tooLarge(const Sequence& sequence) const {
  const int64_t length = static_cast<int64_t>(sequence.tokens.size()), need = pagesFor(length);
  return makeError(ErrorCode::kDoesNotFit, "KV cache is full: ", length, " positions need ", need, " pages of ", limits_.page_tokens,
                   ", there are ", pages_.numPages());
}

void Scheduler::planPrompts(StepPlan& plan, int64_t budget) {
  std::vector<Sequence*> prompts;
  for (Sequence* sequence : running_)
    if (!sequence->decoding()) prompts.push_back(sequence);
  prompts.insert(prompts.end(), waiting_.begin(), waiting_.end());
  std::inplace_merge(prompts.begin(), prompts.end() - static_cast<int64_t>(waiting_.size()), prompts.end(), ByTurn{});
  int64_t rows = limits_.max_rows;
  for (const StepPart& part : plan.parts) rows -= part.rows;
  bool let_in = true;
  for (Sequence* sequence : prompts) {
    if (budget < 1) return;
    if (!sequence->running) let_in = let_in && admit(sequence, plan);
    if (!sequence->running) continue;
    takeOver(sequence);
    const StepPart part = partOf(sequence, budget, rows);
    if (part.tokens == 0) continue;
    plan.parts.push_back(part);
    plan.prompt_tokens += part.tokens;
    budget -= part.tokens;
    rows -= part.rows;
  }
}

/// As much of what is pending as fits; where no row is left for the last token, that one waits.
StepPart Scheduler::partOf(Sequence* sequence, int64_t most_tokens, int64_t most_rows) const {
  StepPart part{sequence, std::min(most_tokens, sequence->pending()), 0};
  if (sequence->all_rows && sequence->computed < sequence->prompt_length) {
    part.tokens = part.rows = std::min({part.tokens, most_rows, sequence->prompt_length - sequence->computed});
    return part;
  }
  if (part.tokens < sequence->pending() || !sequence->wants_token) return part;
  if (sequence->rows_per_token > most_rows) {
    --part.tokens;
  } else {
    part.rows = sequence->rows_per_token;
  }
  return part;
}

/// In a step where all that run decode: nobody who is let in ever waits for a token or a row.
bool Scheduler::hasRoomFor(const Sequence& sequence) const {
  return numRunning() < limits_.max_tokens && running_rows_ + sequence.rows_per_token <= limits_.max_rows;
}

/// True: it runs, or has failed; who is behind may try.
bool Scheduler::admit(Sequence* sequence, StepPlan& plan) {
  const int64_t need = pagesFor(static_cast<int64_t>(sequence->tokens.size()));
  if (need > pages_.numPages()) {
    plan.failed.emplace_back(sequence, tooLarge(*sequence));
    waiting_.erase(sequence);
    return true;
  }
  if (!hasRoomFor(*sequence)) return false;
  takeOver(sequence);
  // Those that run will each need another page soon: room taken from them now would be taken back at once.
  const int64_t lacking = need - static_cast<int64_t>(sequence->pages.size());
  if (lacking + static_cast<int64_t>(running_.size()) > pages_.available()) {
    if (!running_.empty()) {
      giveBack(sequence);
      if (fresh(*sequence)) sequence->cached = 0;
      return false;
    }
    EXO_CHECK(lacking <= pages_.available());
  }
  for (int64_t i = 0; i < lacking; ++i) sequence->pages.push_back(*pages_.take());
  sequence->running = true;
  running_rows_ += sequence->rows_per_token;
  waiting_.erase(sequence);
  running_.insert(sequence);
  return true;
}

/// Takes over published pages from where the sequence is; one token at least is left to compute, for its logits.
void Scheduler::takeOver(Sequence* sequence) {
  const int64_t page_tokens = limits_.page_tokens;
  if (sequence->all_rows) return;
  while (sequence->computed == sequence->published * page_tokens && sequence->pending() > page_tokens) {
    const size_t index = static_cast<size_t>(sequence->published);
    const int32_t parent = index == 0 ? PageCache::kRoot : sequence->pages[index - 1];
    const std::optional<int32_t> page = pages_.find(parent, std::span(sequence->tokens).subspan(static_cast<size_t>(sequence->computed), static_cast<size_t>(page_tokens)));
    if (!page) return;
    if (index < sequence->pages.size()) {
      pages_.release(std::exchange(sequence->pages[index], *page));
    } else {
      sequence->pages.push_back(*page);
    }
    ++sequence->published;
    sequence->computed += page_tokens;
    if (fresh(*sequence)) sequence->cached += page_tokens;
  }
}

void Scheduler::publish(Sequence* sequence) {
  const int64_t page_tokens = limits_.page_tokens;
  while ((sequence->published + 1) * page_tokens <= sequence->computed) {
    const size_t index = static_cast<size_t>(sequence->published);
    const int32_t parent = index == 0 ? PageCache::kRoot : sequence->pages[index - 1];
    const size_t begin = index * static_cast<size_t>(page_tokens);
    sequence->pages[index] = pages_.publish(sequence->pages[index], parent, std::span(sequence->tokens).subspan(begin, static_cast<size_t>(page_tokens)));
    ++sequence->published;
  }
}

void Scheduler::done(const StepPlan& plan) {
  for (const StepPart& part : plan.parts) {
    part.sequence->computed += part.tokens;
    publish(part.sequence);
  }
}

}  // namespace exo::serve
