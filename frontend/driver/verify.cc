#include "frontend/driver/verify.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

namespace exo {

namespace {

using program::Call;
using program::Collective;
using program::Program;

Error mismatch(const std::string& text) { return makeError(ErrorCode::kMismatch, text); }

// --- slices ----------------------------------------------------------------------------------------------------------
struct Rectangle {
  uint64_t row_begin, row_end, column_begin, column_end;
};

/// Rows [0, rows) x columns [0, columns) is covered when every band between two row borders is covered in columns.
Status proveCovered(const std::string& tensor, uint64_t rows, uint64_t columns, const std::vector<Rectangle>& pieces) {
  std::set<uint64_t> borders = {0, rows};
  for (const Rectangle& piece : pieces) borders.insert({piece.row_begin, piece.row_end});
  for (auto border = borders.begin(); *border < rows; ++border) {
    std::vector<std::pair<uint64_t, uint64_t>> spans;
    for (const Rectangle& piece : pieces) {
      if (piece.row_begin <= *border && *border < piece.row_end) spans.emplace_back(piece.column_begin, piece.column_end);
    }
    std::sort(spans.begin(), spans.end());
    uint64_t covered = 0;
    for (const auto& [begin, end] : spans) {
      if (begin <= covered) covered = std::max(covered, end);
    }
    if (covered < columns) return mismatch("tensor " + tensor + ": no node loads row " + std::to_string(*border) + ", column " + std::to_string(covered));
  }
  return {};
}

// --- messages --------------------------------------------------------------------------------------------------------
/// One rank's calls that talk to others, in order.
struct Talk {
  const Call* call;
  uint64_t bytes;  // per row
};

Result<std::vector<Talk>> talks(const Program& program) {
  std::vector<Talk> result;
  for (const Call& call : program.calls()) {
    if (!call.has_collective()) continue;
    uint64_t columns = 0;
    const auto& operands = call.in_size() > 0 ? call.in() : call.out();
    for (const auto& operand : operands) {
      if (operand.buffer() >= static_cast<uint32_t>(program.buffers_size())) return mismatch("rank " + std::to_string(program.rank()) + ": " + call.name() + " names a buffer that is not there");
      columns += program.buffers(static_cast<int>(operand.buffer())).columns();
    }
    result.push_back({&call, columns});
  }
  return result;
}

class Replay {
 public:
  explicit Replay(const plan::Plan& plan) : plan_(plan), next_(static_cast<size_t>(plan.programs_size())) {}

  Status run() {
    for (const Program& program : plan_.programs()) {
      EXO_ASSIGN(auto list, talks(program));
      talks_.push_back(std::move(list));
    }
    while (!done()) {
      EXO_ASSIGN(const bool progress, advance());
      if (!progress) return stuck();
    }
    return {};
  }

 private:
  const Talk* current(size_t rank) const { return next_[rank] < talks_[rank].size() ? &talks_[rank][next_[rank]] : nullptr; }
  bool done() const {
    for (size_t r = 0; r < next_.size(); ++r) {
      if (current(r)) return false;
    }
    return true;
  }
  Result<bool> advance() {
    bool progress = false;
    for (size_t r = 0; r < next_.size(); ++r) {
      const Talk* talk = current(r);
      if (!talk) continue;
      const Collective& c = talk->call->collective();
      if (c.op() == Collective::SEND) {
        for (uint32_t peer : c.peers()) sent_[{r, peer}].push_back(talk->bytes);
        ++next_[r];
        progress = true;
      } else if (c.op() == Collective::RECV) {
        EXO_ASSIGN(const bool met, receive(r, *talk));
        progress |= met;
      } else {
        EXO_ASSIGN(const bool met, group(r, *talk));
        progress |= met;
      }
    }
    return progress;
  }
  Result<bool> receive(size_t rank, const Talk& talk) {
    if (talk.call->collective().peers_size() != 1) return mismatch("rank " + std::to_string(rank) + ": " + talk.call->name() + " must receive from one rank");
    auto& queue = sent_[{talk.call->collective().peers(0), static_cast<uint32_t>(rank)}];
    if (queue.empty()) return false;
    if (queue.front() != talk.bytes) {
      return mismatch("rank " + std::to_string(rank) + ": " + talk.call->name() + " receives rows of " + std::to_string(talk.bytes) + " columns, " + std::to_string(queue.front()) + " are sent");
    }
    queue.erase(queue.begin());
    ++next_[rank];
    return true;
  }
  Result<bool> group(size_t rank, const Talk& talk) {
    const Collective& c = talk.call->collective();
    for (uint32_t member : c.ranks()) {
      if (member >= next_.size()) return mismatch("rank " + std::to_string(rank) + ": " + talk.call->name() + " names rank " + std::to_string(member) + ", which is not there");
      const Talk* other = current(member);
      if (!other) return mismatch("rank " + std::to_string(rank) + " waits in " + talk.call->name() + " for rank " + std::to_string(member) + ", which has ended");
      const Collective& theirs = other->call->collective();
      if (theirs.op() == Collective::SEND || theirs.op() == Collective::RECV) return false;
      const bool same = theirs.op() == c.op() && std::equal(c.ranks().begin(), c.ranks().end(), theirs.ranks().begin(), theirs.ranks().end()) &&
                        (c.op() == Collective::ALL_GATHER || other->bytes == talk.bytes);
      if (!same) return mismatch("rank " + std::to_string(rank) + " calls " + talk.call->name() + " while rank " + std::to_string(member) + " calls " + other->call->name());
    }
    for (uint32_t member : c.ranks()) ++next_[member];
    return true;
  }
  Status stuck() const {
    std::string text = "the ranks wait for each other:";
    for (size_t r = 0; r < next_.size(); ++r) {
      if (const Talk* talk = current(r)) text += " rank " + std::to_string(r) + " in " + talk->call->name() + ";";
    }
    return mismatch(text);
  }

  const plan::Plan& plan_;
  std::vector<std::vector<Talk>> talks_;
  std::vector<size_t> next_;
  std::map<std::pair<uint32_t, uint32_t>, std::vector<uint64_t>> sent_;
};

// --- buffers ---------------------------------------------------------------------------------------------------------
/// First and last region in which each buffer is touched. Inputs and outputs live for the whole step.
std::vector<std::pair<int, int>> lifetimes(const Program& program) {
  std::vector<std::pair<int, int>> lives(static_cast<size_t>(program.buffers_size()), {INT32_MAX, -1});
  int region = 0;
  const auto touch = [&](const program::Operand& operand) {
    if (operand.kind_case() != program::Operand::kBuffer || operand.buffer() >= lives.size()) return;
    auto& [begin, end] = lives[operand.buffer()];
    begin = std::min(begin, region);
    end = std::max(end, region);
  };
  for (int i = 0; i < program.calls_size(); ++i) {
    const Call& call = program.calls(i);
    if (i > 0 && call.region() != program.calls(i - 1).region()) ++region;
    for (const auto& operand : call.in()) touch(operand);
    for (const auto& operand : call.out()) touch(operand);
  }
  for (int b = 0; b < program.buffers_size(); ++b) {
    if (!program.buffers(b).input().empty()) lives[static_cast<size_t>(b)] = {0, region};
  }
  const auto outlives = [&](bool there, uint32_t index) {
    if (there && index < lives.size()) lives[index].second = region;
  };
  outlives(program.has_output_values(), program.output_values());
  outlives(program.has_output_ids(), program.output_ids());
  outlives(program.has_logits(), program.logits());
  return lives;
}

Status proveProgramBuffers(const Program& program) {
  const auto lives = lifetimes(program);
  for (int a = 0; a < program.buffers_size(); ++a) {
    const program::Buffer& first = program.buffers(a);
    const uint64_t first_end = first.offset_bytes() + first.size_bytes();
    if (first_end < first.offset_bytes() || first_end > program.arena_bytes()) return mismatch("rank " + std::to_string(program.rank()) + ": buffer " + first.name() + " reaches beyond the arena");
    for (int b = 0; b < a; ++b) {
      const program::Buffer& second = program.buffers(b);
      const bool apart = first_end <= second.offset_bytes() || second.offset_bytes() + second.size_bytes() <= first.offset_bytes();
      const auto& [begin_a, end_a] = lives[static_cast<size_t>(a)];
      const auto& [begin_b, end_b] = lives[static_cast<size_t>(b)];
      if (!apart && begin_a <= end_b && begin_b <= end_a) return mismatch("rank " + std::to_string(program.rank()) + ": buffers " + first.name() + " and " + second.name() + " are live at the same time and share bytes");
    }
  }
  return {};
}

}  // namespace

Status proveSlices(const plan::Plan& plan) {
  std::map<std::string, std::tuple<uint64_t, uint64_t, std::vector<Rectangle>>> tensors;
  for (const Program& program : plan.programs()) {
    for (const program::Weight& weight : program.weights()) {
      for (const program::TensorSlice& slice : weight.slices()) {
        auto& [rows, columns, pieces] = tensors[slice.tensor()];
        if (!pieces.empty() && (rows != slice.rows() || columns != slice.columns())) return mismatch("tensor " + slice.tensor() + ": nodes disagree about its shape");
        rows = slice.rows();
        columns = slice.columns();
        pieces.push_back({slice.row_begin(), slice.row_end(), slice.column_begin(), slice.column_end()});
      }
    }
  }
  for (const auto& [tensor, entry] : tensors) {
    const auto& [rows, columns, pieces] = entry;
    EXO_TRY(proveCovered(tensor, rows, columns, pieces));
  }
  return {};
}

Status proveMessages(const plan::Plan& plan) { return Replay(plan).run(); }

Status proveBuffers(const plan::Plan& plan) {
  for (const Program& program : plan.programs()) EXO_TRY(proveProgramBuffers(program));
  return {};
}

}  // namespace exo
