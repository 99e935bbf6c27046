#include "executor/runtime/step.h"

namespace exo::runtime {
namespace {

Status checkSizes(const StepInput& input, const StepLimits& limits) {
  const int64_t tokens = input.numTokens();
  if (tokens < 1 || tokens > limits.max_tokens) return invalid("a step takes 1 to ", limits.max_tokens, " tokens, got ", tokens);
  if (input.positions.size() != input.tokens.size() || input.sequence.size() != input.tokens.size())
    return invalid("positions and sequence must be one per token, ", tokens, ", got ", input.positions.size(), " and ", input.sequence.size());
  if (input.numRows() > limits.max_rows) return invalid("a step takes at most ", limits.max_rows, " rows of logits, got ", input.numRows());
  const int64_t sequences = input.numSequences();
  if (sequences < 1 || sequences > tokens) return invalid("a step has 1 to ", tokens, " sequences, got ", sequences);
  const int64_t pages_of_context = (limits.max_context + limits.page_tokens - 1) / limits.page_tokens;
  if (input.page_table_stride < 1 || input.page_table_stride > pages_of_context)
    return invalid("page_table_stride must be in [1, ", pages_of_context, "], got ", input.page_table_stride);
  if (static_cast<int64_t>(input.page_table.size()) != sequences * input.page_table_stride)
    return invalid("page_table must be ", sequences, " x ", input.page_table_stride, ", got ", input.page_table.size(), " entries");
  return {};
}

Status checkPages(const StepInput& input, const StepLimits& limits, int64_t sequence, int64_t last_position) {
  const int64_t pages = last_position / limits.page_tokens + 1;
  if (pages > input.page_table_stride)
    return invalid("sequence ", sequence, " reaches position ", last_position, ", page ", pages - 1, ", beyond its table of ",
                   input.page_table_stride, " pages");
  for (int64_t i = 0; i < pages; ++i) {
    const int32_t page = input.page_table[sequence * input.page_table_stride + i];
    if (page < 0 || page >= limits.num_pages)
      return invalid("sequence ", sequence, ": page ", page, " is outside the cache of ", limits.num_pages);
  }
  return {};
}

Status checkSequence(const StepInput& input, const StepLimits& limits, int64_t sequence) {
  const int64_t begin = input.sequence_begin[sequence], end = input.sequence_begin[sequence + 1];
  if (begin < 0 || end <= begin || end > input.numTokens())
    return invalid("sequence ", sequence, " has tokens [", begin, ", ", end, ") of ", input.numTokens());
  for (int64_t t = begin; t < end; ++t) {
    const int32_t position = input.positions[t];
    if (input.tokens[t] < 0 || input.tokens[t] >= limits.vocab_size)
      return invalid("token id ", input.tokens[t], " at index ", t, " is outside the vocabulary of ", limits.vocab_size);
    if (position < 0 || position >= limits.max_context)
      return invalid("position ", position, " at index ", t, " is outside the context of ", limits.max_context);
    if (t > begin && position != input.positions[t - 1] + 1)
      return invalid("positions of a sequence must ascend by one, got ", position, " after ", input.positions[t - 1], " at index ", t);
    if (input.sequence[t] != sequence)
      return invalid("token ", t, " says sequence ", input.sequence[t], ", sequence_begin says ", sequence);
  }
  return checkPages(input, limits, sequence, input.positions[end - 1]);
}

}  // namespace

StepLimits stepLimits(const program::Program& program) {
  return {.max_tokens = static_cast<int64_t>(program.max_tokens()),
          .max_rows = static_cast<int64_t>(program.max_rows()),
          .max_context = static_cast<int64_t>(program.max_context()),
          .page_tokens = static_cast<int64_t>(program.page_tokens()),
          .num_pages = static_cast<int64_t>(program.num_pages()),
          .vocab_size = static_cast<int64_t>(program.vocab_size())};
}

Status validate(const StepInput& input, const StepLimits& limits) {
  EXO_TRY(checkSizes(input, limits));
  if (input.sequence_begin.front() != 0 || input.sequence_begin.back() != input.numTokens())
    return invalid("sequence_begin must run from 0 to ", input.numTokens(), ", got ", input.sequence_begin.front(), " to ", input.sequence_begin.back());
  for (int64_t s = 0; s < input.numSequences(); ++s) EXO_TRY(checkSequence(input, limits, s));
  for (const int32_t row : input.rows)
    if (row < 0 || row >= input.numTokens()) return invalid("row ", row, " is not one of the ", input.numTokens(), " tokens of the step");
  return {};
}

}  // namespace exo::runtime
