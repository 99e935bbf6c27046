#include "executor/runtime/follower.h"

#include <cstring>
#include <optional>
#include <vector>

#include "executor/runtime/driver.h"
#include "executor/runtime/messages.h"
#include "executor/runtime/step_message.h"
#include "executor/transport/mesh.h"

namespace exo::runtime {
namespace {

Status sendLogits(const Engine& engine, transport::Mesh& mesh, const StepOutput& output, std::chrono::milliseconds timeout,
                  std::vector<std::byte>& bytes) {
  const LogitsHeader header{engine.program().logits_begin(), static_cast<uint64_t>(output.logits_columns), static_cast<uint64_t>(output.rows)};
  bytes.resize(sizeof(header));
  std::memcpy(bytes.data(), &header, sizeof(header));
  const auto values = std::as_bytes(output.logits);
  bytes.insert(bytes.end(), values.begin(), values.end());
  return sendMessage(mesh, 0, bytes, timeout, "logits");
}

}  // namespace

Status follow(Engine& engine, transport::Mesh& mesh, std::chrono::milliseconds timeout) {
  if (engine.program().rank() == 0) return invalid("rank 0 drives, it does not follow");
  const uint64_t max_bytes = maxStepMessageBytes(engine.limits());
  std::vector<std::byte> bytes, logits;
  for (uint64_t number = 0;; ++number) {
    EXO_TRY(receiveMessage(mesh, 0, bytes, max_bytes, std::nullopt, timeout, "step message"));
    EXO_ASSIGN(const StepMessage message, decode(bytes, engine.limits()));
    if (message.kind == StepKind::kStop) return {};
    if (message.number != number)
      return makeError(ErrorCode::kMismatch, ErrorScope::kJob, "rank 0 is at step ", message.number, ", this rank at step ", number);
    StepOutput output;
    EXO_TRY(engine.step(message.input, &output));
    if (message.gather == GatherLogits::kToRankZero) EXO_TRY(sendLogits(engine, mesh, output, timeout, logits));
    if (!output.statistics.empty()) EXO_TRY(sendMessage(mesh, 0, std::as_bytes(output.statistics), timeout, "statistics"));
  }
}

}  // namespace exo::runtime
