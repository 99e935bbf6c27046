#include "executor/serve/batcher.h"

#include <algorithm>

namespace exo::serve {
namespace {

using codegen::RowControl;

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

Turn turnOf(uint64_t id, const TokenRequest& request) {
  const auto earlier = std::chrono::nanoseconds(kPriorityAge) * request.priority;
  return {std::chrono::duration_cast<std::chrono::nanoseconds>(request.arrived.time_since_epoch() - earlier).count(), id};
}

Sampler::Options samplerOptions(const TokenRequest& request) {
  return {.logprobs = request.logprobs,
          .constrained = request.constraint != nullptr,
          .forbidden_first = request.min_tokens > 0 ? request.stop_ids : std::vector<int32_t>{},
          .forbidden_until = request.stop_ids.empty() ? 0 : request.min_tokens};
}

}  // namespace

Status check(const TokenRequest& request, const runtime::StepLimits& limits) {
  EXO_TRY(validate(request.sampling, limits.vocab_size));
  const int64_t top_k = request.sampling.top_k;
  if (limits.candidates > 0 && top_k > limits.candidates && top_k < limits.vocab_size)
    return invalid("top_k must be 0 (all tokens) or at most ", limits.candidates, ", the candidates that this plan keeps, got ", top_k);
  if (request.max_tokens < 0) return invalid("max_tokens must not be negative, got ", request.max_tokens);
  if (request.min_tokens < 0 || request.min_tokens > limits.max_context) return invalid("min_tokens must be in [0, ", limits.max_context, "], got ", request.min_tokens);
  if (request.logprobs && (*request.logprobs < 0 || *request.logprobs > kMaxLogprobs))
    return invalid("logprobs: expected 0 to ", kMaxLogprobs, " alternatives, got ", *request.logprobs);
  if (request.priority < -100 || request.priority > 100) return invalid("priority must be in [-100, 100], got ", request.priority);
  for (const int32_t id : request.stop_ids)
    if (id < 0 || id >= limits.vocab_size) return invalid("stop token id ", id, " is outside the vocabulary of ", limits.vocab_size);
  const int64_t length = static_cast<int64_t>(request.prompt.size());
  if (length == 0) return invalid("the prompt is empty");
  if (length > limits.max_context)
    return invalid("the prompt has ", length, " tokens, the context of this model as loaded has ", limits.max_context);
  for (size_t i = 0; i < request.prompt.size(); ++i)
    if (request.prompt[i] < 0 || request.prompt[i] >= limits.vocab_size)
      return invalid("token id ", request.prompt[i], " at index ", i, " of the prompt is outside the vocabulary of ", limits.vocab_size);
  const Sampler sampler(request.sampling, samplerOptions(request), {}, limits.vocab_size);
  if (sampler.rows() > limits.max_rows) return invalid("log-probabilities beside penalties, constraints or random choice need 2 rows of logits, this plan has steps of ", limits.max_rows);
  if (request.prompt_logits && (sampler.edits() || request.constraint || request.logprobs))
    return invalid("logits of the prompt cannot be had together with penalties, biases, constraints or log-probabilities");
  return {};
}

struct Batcher::Entry : Sequence {
  Entry(uint64_t id, TokenRequest given, std::shared_ptr<TokenListener> hears, const runtime::StepLimits& limits)
      : request(std::move(given)), listener(std::move(hears)), sampler(request.sampling, samplerOptions(request), request.prompt, limits.vocab_size) {
    turn = turnOf(id, request);
    tokens = request.prompt;
    prompt_length = static_cast<int64_t>(tokens.size());
    wants_token = request.max_tokens > 0;
    all_rows = request.prompt_logits;
    rows_per_token = sampler.rows();
  }
  uint64_t id() const { return turn.arrival; }
  int64_t generated() const { return static_cast<int64_t>(tokens.size()) - prompt_length; }

  TokenRequest request;
  std::shared_ptr<TokenListener> listener;
  Sampler sampler;
  std::optional<Clock::time_point> first_step, first_token;
  Clock::time_point last_token;
  int64_t taken = 0;              // tokens chosen: those of the answer, and one that stopped
  int64_t logits_given = 0;       // positions of the prompt
  std::optional<int32_t> stop_id;
};

Batcher::Batcher(runtime::StepRunner& runner, Now now)
    : runner_(runner), now_(std::move(now)), limits_(runner.limits()), scheduler_(limits_), policy_(limits_.max_tokens) {
  updateGauges();
}

Batcher::~Batcher() = default;

void Batcher::add(uint64_t id, TokenRequest request, std::shared_ptr<TokenListener> listener) {
  auto entry = std::make_unique<Entry>(id, std::move(request), std::move(listener), limits_);
  scheduler_.add(entry.get());
  ++metrics_.accepted;
  entries_.emplace(id, std::move(entry));
  updateGauges();
}

void Batcher::cancel(uint64_t id) {
  const auto found = entries_.find(id);
  if (found != entries_.end()) end(*found->second, FinishReason::kCancelled);
  updateGauges();
}

void Batcher::endAll(const std::optional<Error>& error) {
  while (!entries_.empty()) end(*entries_.begin()->second, error ? FinishReason::kError : FinishReason::kCancelled, error);
  updateGauges();
}

Status Batcher::step() {
  if (idle()) return {};
  step_began_ = now_();
  const StepPlan plan = scheduler_.plan(policy_.promptTokens());
  for (const auto& [sequence, error] : plan.failed) end(static_cast<Entry&>(*sequence), FinishReason::kError, error);
  if (!plan.parts.empty()) {
    EXO_TRY(run(plan));
    scheduler_.done(plan);
    deliver(plan);
  } else {
    EXO_CHECK(!plan.failed.empty()) << entries_.size() << " sequences, and none can run";
  }
  updateGauges();
  return {};
}

/// The step's input. Who cannot say what it allows ends when the step is done.
void Batcher::fill(const StepPlan& plan) {
  batch_.clear();
  controls_.clear();
  edits_.clear();
  masks_.clear();
  controlled_ = false;
  for (const StepPart& part : plan.parts) {
    auto& entry = static_cast<Entry&>(*part.sequence);
    if (!entry.first_step) entry.first_step = step_began_;
    const auto tokens = std::span(entry.tokens).subspan(static_cast<size_t>(entry.computed), static_cast<size_t>(part.tokens));
    const bool every = entry.all_rows && part.rows == part.tokens && entry.computed < entry.prompt_length;
    const runtime::WantRows rows = part.rows == 0 ? runtime::WantRows::kNone : every ? runtime::WantRows::kAll : runtime::WantRows::kLast;
    batch_.add(tokens, entry.computed, entry.pages, rows, every ? 1 : std::max<int64_t>(1, part.rows));
    if (part.rows == 0) continue;
    const bool last = entry.computed + part.tokens == static_cast<int64_t>(entry.tokens.size()) && entry.wants_token;
    const size_t plain = static_cast<size_t>(part.rows) - (last ? static_cast<size_t>(entry.rows_per_token) : 0);
    controls_.resize(controls_.size() + plain);
    if (!last) continue;
    if (entry.sampler.addControls(entry.tokens.size(), controls_, edits_)) {
      controlled_ = true;
      mask(entry);
    } else {
      controls_.resize(controls_.size() + static_cast<size_t>(entry.rows_per_token));
    }
  }
}

/// What the constraint allows, for the row added last.
void Batcher::mask(Entry& entry) {
  if (entry.request.constraint == nullptr) return;
  const auto words = static_cast<size_t>(codegen::maskWords(limits_.vocab_size));
  controls_.back().mask = static_cast<int32_t>(masks_.size() / words);
  masks_.resize(masks_.size() + words);
  entry.request.constraint->allowed(std::span(masks_).last(words));
}

Status Batcher::run(const StepPlan& plan) {
  fill(plan);
  runtime::StepInput input = batch_.input();
  if (controlled_) input.controls = {controls_, edits_, masks_};
  const bool logits = std::any_of(plan.parts.begin(), plan.parts.end(), [](const StepPart& part) {
    return part.rows > 0 && part.sequence->all_rows && part.sequence->computed < part.sequence->prompt_length;
  });
  EXO_TRY(runner_.step(input, logits ? runtime::GatherLogits::kToRankZero : runtime::GatherLogits::kNo, &output_));
  step_ended_ = now_();
  measure(plan);
  return {};
}

void Batcher::measure(const StepPlan& plan) {
  const double took = seconds(step_ended_ - step_began_);
  policy_.observe(plan.decoding, plan.prompt_tokens, took);
  ++metrics_.steps;
  metrics_.last_step_sequences = static_cast<int64_t>(plan.parts.size());
  metrics_.last_step_tokens = plan.decoding + plan.prompt_tokens;
  metrics_.step_sequences += static_cast<uint64_t>(metrics_.last_step_sequences);
  metrics_.step_tokens += static_cast<uint64_t>(metrics_.last_step_tokens);
  metrics_.step_seconds += took;
  const std::span<const double> waits = runner_.peerWaits();
  metrics_.peer_waits.clear();
  for (size_t rank = 1; rank < waits.size(); ++rank) metrics_.peer_waits.push_back({static_cast<int>(rank), waits[rank]});
}

void Batcher::deliver(const StepPlan& plan) {
  size_t row = 0;
  for (const StepPart& part : plan.parts) {
    deliver(static_cast<Entry&>(*part.sequence), part, row);
    row += static_cast<size_t>(part.rows);
  }
}

/// `row`: the part's first. The entry may be gone afterwards.
void Batcher::deliver(Entry& entry, const StepPart& part, size_t row) {
  if (entry.generated() == 0)
    entry.listener->progress({.total = entry.prompt_length, .cached = entry.cached, .processed = std::min(entry.computed, entry.prompt_length)});
  if (entry.all_rows && part.rows > 0 && entry.computed - part.tokens < entry.prompt_length) {
    if (Status status = deliverPromptLogits(entry, part, row); !status.ok()) return end(entry, FinishReason::kError, std::move(status).error());
  }
  if (entry.pending() > 0) return;
  if (!entry.wants_token) return end(entry, FinishReason::kLength);
  choose(entry, row + static_cast<size_t>(part.rows - entry.rows_per_token));
}

/// Positions that are computed a second time, after their pages were lost, are passed over.
Status Batcher::deliverPromptLogits(Entry& entry, const StepPart& part, size_t row) {
  const auto columns = static_cast<size_t>(limits_.vocab_size);
  const int64_t begin = entry.computed - part.tokens, known = std::max<int64_t>(0, entry.logits_given - begin);
  if (known >= part.tokens) return {};
  entry.logits_given = entry.computed;
  const size_t first = row + static_cast<size_t>(known), count = static_cast<size_t>(part.tokens - known);
  return entry.listener->promptLogits(begin + known, runner_.logits().subspan(first * columns, count * columns));
}

void Batcher::choose(Entry& entry, size_t row) {
  RowResult results[2];
  const auto rows = static_cast<size_t>(entry.rows_per_token), k = static_cast<size_t>(output_.candidates);
  for (size_t i = 0; i < rows; ++i) {
    results[i] = {.values = output_.values.subspan((row + i) * k, k), .ids = output_.ids.subspan((row + i) * k, k), .statistics = {}};
    if (!output_.statistics.empty()) results[i].statistics = output_.statistics[row + i];
  }
  Result<Choice> choice = entry.sampler.choose(entry.tokens.size(), std::span(results).first(rows));
  if (!choice.ok()) return end(entry, FinishReason::kError, std::move(choice).error());
  append(entry, *choice);
}

void Batcher::append(Entry& entry, const Choice& choice) {
  const int32_t id = choice.token.id;
  ++entry.taken;
  ++metrics_.generated_tokens;
  if (!entry.first_token) {
    entry.first_token = step_ended_;
    metrics_.time_to_first_token.observe(seconds(step_ended_ - entry.request.arrived));
  } else {
    metrics_.inter_token.observe(seconds(step_ended_ - entry.last_token));
  }
  entry.last_token = step_ended_;
  if (entry.request.constraint != nullptr) {
    if (Status status = entry.request.constraint->accept(id); !status.ok()) return end(entry, FinishReason::kError, std::move(status).error());
  }
  const std::vector<int32_t>& stops = entry.request.stop_ids;
  if (std::find(stops.begin(), stops.end(), id) != stops.end()) {
    entry.stop_id = id;
    return end(entry, FinishReason::kStop);
  }
  entry.tokens.push_back(id);
  entry.sampler.accept(id);
  if (!entry.listener->token(choice)) return end(entry, FinishReason::kStopString);
  if (entry.generated() == entry.request.max_tokens || static_cast<int64_t>(entry.tokens.size()) > limits_.max_context) end(entry, FinishReason::kLength);
}

void Batcher::end(Entry& entry, FinishReason reason, std::optional<Error> error) {
  scheduler_.remove(&entry);
  const Clock::time_point now = now_();
  TokenEnd end{.reason = reason, .stop_id = entry.stop_id, .error = std::move(error)};
  end.usage = {.prompt_tokens = entry.prompt_length, .cached_tokens = entry.cached, .generated_tokens = entry.taken};
  const Clock::time_point first_step = entry.first_step.value_or(now), first_token = entry.first_token.value_or(now);
  end.timings = {.queued = first_step - entry.request.arrived,
                 .prompt = first_token - first_step,
                 .generation = entry.first_token ? entry.last_token - first_token : Clock::duration(0)};
  metrics_.queue.observe(seconds(end.timings.queued));
  metrics_.request.observe(seconds(now - entry.request.arrived));
  metrics_.prompt_tokens += static_cast<uint64_t>(entry.prompt_length);
  metrics_.cached_prompt_tokens += static_cast<uint64_t>(entry.cached);
  ++(reason == FinishReason::kCancelled ? metrics_.cancelled : reason == FinishReason::kError ? metrics_.failed : metrics_.finished);
  const std::unique_ptr<Entry> last = std::move(entries_.extract(entry.id()).mapped());
  last->listener->end(end);
}

void Batcher::updateGauges() {
  const PageCache& pages = scheduler_.pages();
  metrics_.waiting = scheduler_.numWaiting();
  metrics_.running = scheduler_.numRunning();
  metrics_.preemptions = scheduler_.preemptions();
  metrics_.pages = pages.numPages();
  metrics_.page_tokens = pages.pageTokens();
  metrics_.pages_used = pages.used();
  metrics_.pages_cached = pages.unused();
  metrics_.evicted_pages = pages.evicted();
}

}  // namespace exo::serve
