#include "executor/runtime/step.h"

#include <algorithm>
#include <cmath>
#include <limits>

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

Status checkControl(const codegen::RowControl& control, const codegen::RowControls& controls, size_t mask_words) {
  if (control.edits_begin > control.edits_end || control.edits_end > controls.edits.size())
    return invalid("a row's edits are [", control.edits_begin, ", ", control.edits_end, ") of ", controls.edits.size());
  if (control.mask != codegen::RowControl::kNoMask && (control.mask < 0 || static_cast<size_t>(control.mask) >= controls.masks.size() / mask_words))
    return invalid("a row's mask is ", control.mask, " of ", controls.masks.size() / mask_words);
  if (!(control.inverse_temperature > 0) || !std::isfinite(control.inverse_temperature))
    return invalid("a row's inverse temperature must be above 0, got ", control.inverse_temperature);
  return {};
}

Status checkControls(const StepInput& input, const StepLimits& limits) {
  const codegen::RowControls& controls = input.controls;
  const auto mask_words = static_cast<size_t>(codegen::maskWords(limits.vocab_size));
  if (!controls.rows.empty() && controls.rows.size() != input.rows.size())
    return invalid("controls must be one per row, ", input.rows.size(), ", got ", controls.rows.size());
  if (controls.masks.size() % mask_words != 0) return invalid("masks must have ", mask_words, " words each, got ", controls.masks.size());
  for (const codegen::LogitEdit& edit : controls.edits)
    if (!(edit.divisor > 0) || !std::isfinite(edit.divisor) || !(edit.addend < std::numeric_limits<float>::infinity()))
      return invalid("the edit of token ", edit.id, " is out of range: divisor ", edit.divisor, ", addend ", edit.addend);
  for (const codegen::RowControl& control : controls.rows) EXO_TRY(checkControl(control, controls, mask_words));
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

bool StepInput::wantsStatistics() const {
  return std::any_of(controls.rows.begin(), controls.rows.end(), [](const codegen::RowControl& row) { return (row.flags & codegen::RowControl::kStatistics) != 0; });
}

StepLimits stepLimits(const program::Program& program) {
  const bool chooses = program.has_output_values() && static_cast<int>(program.output_values()) < program.buffers_size();
  return {.max_tokens = static_cast<int64_t>(program.max_tokens()),
          .max_rows = static_cast<int64_t>(program.max_rows()),
          .max_context = static_cast<int64_t>(program.max_context()),
          .page_tokens = static_cast<int64_t>(program.page_tokens()),
          .num_pages = static_cast<int64_t>(program.num_pages()),
          .vocab_size = static_cast<int64_t>(program.vocab_size()),
          .candidates = chooses ? static_cast<int64_t>(program.buffers(static_cast<int>(program.output_values())).columns()) : 0};
}

Status validate(const StepInput& input, const StepLimits& limits) {
  EXO_TRY(checkSizes(input, limits));
  if (input.sequence_begin.front() != 0 || input.sequence_begin.back() != input.numTokens())
    return invalid("sequence_begin must run from 0 to ", input.numTokens(), ", got ", input.sequence_begin.front(), " to ", input.sequence_begin.back());
  for (int64_t s = 0; s < input.numSequences(); ++s) EXO_TRY(checkSequence(input, limits, s));
  for (const int32_t row : input.rows)
    if (row < 0 || row >= input.numTokens()) return invalid("row ", row, " is not one of the ", input.numTokens(), " tokens of the step");
  return checkControls(input, limits);
}

}  // namespace exo::runtime
