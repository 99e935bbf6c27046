// EMBED, TOP_K, ROUTER_TOP_K, EXPERT_DISPATCH. Stateless; results depend on the row alone.
#include "codegen/host_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "codegen/layout.h"
#include "codegen/logits.h"

namespace exo::codegen {
namespace {

void embed(const KernelArgs* args, int64_t begin, int64_t end, void*, const HostNumbers* numbers) {
  const auto* tokens = static_cast<const int32_t*>(args->in[0]);
  const auto encoding = static_cast<program::Encoding>(numbers->weight);
  const std::span table(static_cast<const std::byte*>(args->in[1]), packedBytes(encoding, numbers->n, numbers->k));
  for (int64_t row = begin; row < end; ++row) {
    const std::span out(static_cast<float*>(args->out[0]) + row * numbers->k, numbers->k);
    const int64_t local = tokens[row] - numbers->index_offset;
    if (local >= 0 && local < numbers->n) {
      unpackRow(encoding, numbers->n, numbers->k, table, local, out);
      if (numbers->factor != 1)
        for (float& value : out) value = static_cast<float>(value * numbers->factor);
    } else {
      std::fill(out.begin(), out.end(), 0.0f);
    }
  }
}

struct Candidate {
  float value;
  int32_t id;
};
/// Larger value first, then smaller id.
bool better(const Candidate& a, const Candidate& b) { return a.value > b.value || (a.value == b.value && a.id < b.id); }

constexpr size_t kStretch = 256;

/// Is none of the values larger than `bound`? Most of a vocabulary is passed over by this, many values at a time: g++ -O2
/// makes vectors of a loop whose length it knows.
bool noneAbove(std::span<const float, kStretch> values, float bound) {
  int above = 0;
  for (size_t i = 0; i < kStretch; ++i) above |= values[i] > bound ? 1 : 0;
  return above == 0;
}

/// The `kept` best of `values`, best first, into a heap of the caller whose worst element is on top while it is filled.
int64_t best(std::span<const float> values, std::span<Candidate> kept) {
  constexpr auto kStep = static_cast<int64_t>(kStretch);
  const auto size = static_cast<int64_t>(values.size());
  int64_t count = 0;
  for (int64_t i = 0; i < size; ++i) {
    // Ids ascend: equal to the worst candidate is not better.
    while (i % kStep == 0 && i + kStep <= size && count == static_cast<int64_t>(kept.size()) && noneAbove(values.subspan(static_cast<size_t>(i)).first<kStretch>(), kept[0].value)) i += kStep;
    if (i == size) break;
    const float value = std::isnan(values[i]) ? -std::numeric_limits<float>::infinity() : values[i];
    const Candidate candidate{value, static_cast<int32_t>(i)};
    if (count < static_cast<int64_t>(kept.size())) {
      kept[count++] = candidate;
      std::push_heap(kept.begin(), kept.begin() + count, better);
    } else if (better(candidate, kept[0])) {
      std::pop_heap(kept.begin(), kept.end(), better);
      kept.back() = candidate;
      std::push_heap(kept.begin(), kept.end(), better);
    }
  }
  std::sort_heap(kept.begin(), kept.begin() + count, better);
  return count;
}

/// The candidates of a row that has a control: edits the row where it lies.
int64_t controlledBest(const StepView& step, int64_t row, std::span<float> logits, std::span<Candidate> kept, int64_t first_id) {
  const RowControl& control = step.controls->rows[static_cast<size_t>(row)];
  editLogits(logits, first_id, control, *step.controls, step.mask_words);
  RowStatistics& statistics = step.statistics[row];
  if ((control.flags & RowControl::kStatistics) != 0) statistics = statisticsOf(logits, control.inverse_temperature);
  if (kept.empty()) return 0;
  if ((control.flags & RowControl::kDraw) == 0) return best(logits, kept);
  const Draw draw = drawToken(logits, first_id, control);
  if (draw.id < 0) return 0;
  kept[0] = {draw.score, static_cast<int32_t>(draw.id - first_id)};
  statistics.draw_score = draw.score;
  statistics.drawn = logits[static_cast<size_t>(draw.id - first_id)];
  return 1;
}

void topK(const KernelArgs* args, int64_t begin, int64_t end, void* scratch, const HostNumbers* numbers) {
  const std::span kept(static_cast<Candidate*>(scratch), numbers->top_k);
  const bool controlled = args->step != nullptr && args->step->controls != nullptr;
  for (int64_t row = begin; row < end; ++row) {
    const std::span logits(static_cast<float*>(const_cast<void*>(args->in[0])) + row * numbers->n, numbers->n);
    auto* values = static_cast<float*>(args->out[0]) + row * numbers->top_k;
    auto* ids = static_cast<int32_t*>(args->out[1]) + row * numbers->top_k;
    const int64_t count = controlled     ? controlledBest(*args->step, row, logits, kept, numbers->index_offset)
                          : kept.empty() ? 0
                                         : best(logits, kept);
    for (int64_t i = 0; i < numbers->top_k; ++i) {
      values[i] = i < count ? kept[i].value : -std::numeric_limits<float>::infinity();
      ids[i] = i < count ? static_cast<int32_t>(kept[i].id + numbers->index_offset) : -1;
    }
  }
}

void softmax(std::span<const float> logits, std::span<float> out) {
  const float peak = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (size_t i = 0; i < logits.size(); ++i) sum += out[i] = std::exp(logits[i] - peak);
  for (float& value : out) value = static_cast<float>(value / sum);
}

void sigmoid(std::span<const float> logits, std::span<float> out) {
  for (size_t i = 0; i < logits.size(); ++i) out[i] = static_cast<float>(1 / (1 + std::exp(-static_cast<double>(logits[i]))));
}

/// Where a router keeps the numbers of one row.
struct RouterScratch {
  std::span<Candidate> kept, kept_groups;
  std::span<float> shares, scores, sums;
  RouterScratch(void* memory, const HostNumbers& numbers)
      : kept(static_cast<Candidate*>(memory), numbers.top_k),
        kept_groups(kept.data() + kept.size(), numbers.groups > 1 ? numbers.top_groups : 0),
        shares(reinterpret_cast<float*>(kept_groups.data() + kept_groups.size()), numbers.experts),
        scores(shares.data() + shares.size(), numbers.experts),
        sums(scores.data() + scores.size(), numbers.groups > 1 ? numbers.groups : 0) {}
};

/// Leaves scores only to the experts of the groups whose two best have the largest sums.
void limitToGroups(const RouterScratch& row) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  const size_t size = row.scores.size() / row.sums.size();
  for (size_t g = 0; g < row.sums.size(); ++g) {
    float first = kNone, second = kNone;
    for (float score : row.scores.subspan(g * size, size)) {
      if (score > first) second = first, first = score;
      else second = std::max(second, score);
    }
    row.sums[g] = size > 1 ? first + second : first;
  }
  best(row.sums, row.kept_groups);
  for (size_t g = 0; g < row.sums.size(); ++g) {
    const bool kept = std::any_of(row.kept_groups.begin(), row.kept_groups.end(), [g](const Candidate& c) { return c.id == static_cast<int32_t>(g); });
    if (kept) continue;
    const auto group = row.scores.subspan(g * size, size);
    std::fill(group.begin(), group.end(), kNone);
  }
}

void routerTopK(const KernelArgs* args, int64_t begin, int64_t end, void* scratch, const HostNumbers* numbers) {
  const RouterScratch place(scratch, *numbers);
  const auto* bias = numbers->bias ? static_cast<const float*>(args->in[1]) : nullptr;
  for (int64_t row = begin; row < end; ++row) {
    const std::span logits(static_cast<const float*>(args->in[0]) + row * numbers->experts, place.shares.size());
    numbers->scoring == program::Kernel::SIGMOID ? sigmoid(logits, place.shares) : softmax(logits, place.shares);
    for (size_t e = 0; e < place.scores.size(); ++e) place.scores[e] = place.shares[e] + (bias ? bias[e] : 0.0f);
    if (!place.sums.empty()) limitToGroups(place);
    best(place.scores, place.kept);
    double sum = 0;
    for (const Candidate& chosen : place.kept) sum += place.shares[chosen.id];
    const double factor = (numbers->normalize ? 1 / sum : 1.0) * numbers->factor;
    for (int64_t i = 0; i < numbers->top_k; ++i) {
      static_cast<float*>(args->out[0])[row * numbers->top_k + i] = static_cast<float>(place.shares[place.kept[i].id] * factor);
      static_cast<int32_t*>(args->out[1])[row * numbers->top_k + i] = place.kept[i].id;
    }
  }
}

/// Counting sort of the pairs by expert; ids are ours, but an id out of range must not write out of bounds.
void expertDispatch(const KernelArgs* args, int64_t begin, int64_t end, void*, const HostNumbers* numbers) {
  if (begin >= end) return;
  const std::span ids(static_cast<const int32_t*>(args->in[0]), args->rows * numbers->top_k);
  auto* order = static_cast<int32_t*>(args->out[0]);
  const std::span segments(static_cast<int32_t*>(args->out[1]), numbers->experts + 1);
  std::fill(segments.begin(), segments.end(), 0);
  auto bucket = [&](int32_t id) { return std::clamp<int64_t>(id, 0, numbers->experts - 1); };
  for (int32_t id : ids) ++segments[bucket(id) + 1];
  for (int64_t e = 0; e < numbers->experts; ++e) segments[e + 1] += segments[e];
  for (size_t pair = 0; pair < ids.size(); ++pair) order[segments[bucket(ids[pair])]++] = static_cast<int32_t>(pair);
  // Each segment's begin has moved to its end, which is the next one's begin.
  for (int64_t e = numbers->experts; e > 0; --e) segments[e] = segments[e - 1];
  segments[0] = 0;
}

constexpr HostKernel kHostKernels[] = {
    {program::Kernel::EMBED, "exo_host_embed", embed},
    {program::Kernel::TOP_K, "exo_host_top_k", topK},
    {program::Kernel::ROUTER_TOP_K, "exo_host_router_top_k", routerTopK},
    {program::Kernel::EXPERT_DISPATCH, "exo_host_expert_dispatch", expertDispatch},
};

}  // namespace

std::span<const HostKernel> hostKernels() { return kHostKernels; }

HostNumbers hostNumbers(const program::Kernel& kernel) {
  return {.n = static_cast<int64_t>(kernel.n()),
          .k = static_cast<int64_t>(kernel.k()),
          .top_k = static_cast<int64_t>(kernel.top_k()),
          .experts = static_cast<int64_t>(kernel.experts()),
          .index_offset = static_cast<int64_t>(kernel.index_offset()),
          .weight = kernel.weight(),
          .normalize = kernel.normalize() ? 1 : 0,
          .scoring = kernel.scoring(),
          .bias = kernel.bias() ? 1 : 0,
          .groups = static_cast<int64_t>(kernel.groups()),
          .top_groups = static_cast<int64_t>(kernel.top_groups()),
          .factor = kernel.factor() == 0 ? 1.0 : kernel.factor()};
}

}  // namespace exo::codegen
