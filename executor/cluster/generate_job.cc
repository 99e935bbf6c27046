#include "executor/cluster/generate_job.h"

#include <algorithm>

#include "executor/cluster/wire.h"

namespace exo::cluster {
namespace {

constexpr size_t kMaxEventBytes = size_t{64} << 20;
// A client that reads no logits holds up every other request, so not for long; the other ranks wait for the next step meanwhile.
constexpr std::chrono::seconds kClientPatience{10};
// Of one logits event: gRPC refuses messages above 4 MiB.
constexpr size_t kChunkFloats = size_t{1} << 18;
constexpr size_t kEventOverhead = 64;

Error clientGone() { return makeError(ErrorCode::kCancelled, "the client has gone"); }

}  // namespace

Status GenerateJob::token(int32_t id) {
  wire::GenerateEvent event;
  event.set_token(id);
  return push(std::move(event), std::chrono::seconds(0));
}

Status GenerateJob::logits(int64_t position, int64_t column_begin, int64_t columns, std::span<const float> values) {
  for (size_t begin = 0; begin < values.size(); begin += kChunkFloats) {
    const std::span<const float> part = values.subspan(begin, std::min(kChunkFloats, values.size() - begin));
    wire::GenerateEvent event;
    wire::LogitsChunk* chunk = event.mutable_logits();
    chunk->set_position(position);
    chunk->set_column_begin(column_begin + static_cast<int64_t>(begin));
    chunk->set_columns(columns);
    chunk->set_values(part.data(), part.size_bytes());
    EXO_TRY(push(std::move(event), kClientPatience));
  }
  return {};
}

Status GenerateJob::push(wire::GenerateEvent event, std::chrono::seconds patience) {
  const size_t bytes = event.ByteSizeLong() + kEventOverhead;
  {
    std::unique_lock lock(mutex_);
    const bool room = changed_.wait_for(lock, patience, [&] {
      return cancelled_ || finished_ || event_bytes_ + bytes <= kMaxEventBytes;
    });
    if (cancelled_ || finished_) return clientGone();
    if (!room) {
      cancelled_ = true;
      return makeError(ErrorCode::kTimeout, "the client does not read its results");
    }
    events_.push_back(std::move(event));
    event_bytes_ += bytes;
  }
  changed_.notify_all();
  return {};
}

void GenerateJob::finish(const Result<GenerateStats>& result) {
  wire::GenerateEvent event;
  if (result.ok()) {
    *event.mutable_done() = toWire(*result);
  } else {
    *event.mutable_error() = toWire(result.error());
  }
  {
    const std::lock_guard lock(mutex_);
    if (finished_) return;
    finished_ = true;
    event_bytes_ += event.ByteSizeLong() + kEventOverhead;
    events_.push_back(std::move(event));
  }
  changed_.notify_all();
}

std::optional<wire::GenerateEvent> GenerateJob::next(std::chrono::milliseconds timeout) {
  std::optional<wire::GenerateEvent> event;
  {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, timeout, [&] { return !events_.empty(); })) return event;
    event = std::move(events_.front());
    events_.pop_front();
    event_bytes_ -= event->ByteSizeLong() + kEventOverhead;
  }
  changed_.notify_all();
  return event;
}

void GenerateJob::cancel() {
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
  }
  changed_.notify_all();
}

}  // namespace exo::cluster
