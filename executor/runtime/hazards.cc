#include "executor/runtime/hazards.h"

#include <optional>
#include <vector>

#include "executor/runtime/program_check.h"

namespace exo::runtime {
namespace {

using program::Buffer;
using program::Call;
using program::Kernel;
using program::Operand;
using program::Program;

bool overlap(const Buffer& a, const Buffer& b) {
  return a.size_bytes() > 0 && b.size_bytes() > 0 && a.offset_bytes() < b.offset_bytes() + b.size_bytes() && b.offset_bytes() < a.offset_bytes() + a.size_bytes();
}

enum class Mode { kRead, kWrite };

/// One touch of a buffer or cache in the region.
struct Touch {
  int call;
  Mode mode;
  bool is_cache;
  uint32_t index;
  Unit own;              // what a unit touches and no other does: its row, its columns; kOwn: unknown
};

class Hazards {
 public:
  Hazards(const Program& program, const ProgramFacts& facts, const std::vector<Region>& regions)
      : program_(program), facts_(facts), regions_(regions), defined_by_(program.buffers_size(), kNobody) {}

  Status check() {
    // Inputs are all written before the first call: no two of them may share bytes.
    for (int i = 0; i < program_.buffers_size(); ++i)
      if (!program_.buffers(i).input().empty()) EXO_TRY(defineInput(i));
    for (const Region& region : regions_) {
      touches_.clear();
      region_ = &region;
      for (int call = region.first(); call < region.last(); ++call) {
        Status status = checkCall(call);
        if (!status.ok()) return noted(std::move(status), call);
      }
    }
    return checkOutputs();
  }

 private:
  static constexpr int kNobody = -1, kOutside = -2;

  Error noted(Status status, int call) const {
    return std::move(status).error().note("in call " + std::to_string(call) + " \"" + program_.calls(call).name() + "\"");
  }

  Status defineInput(int index) {
    for (int other = 0; other < index; ++other)
      if (defined_by_[other] == kOutside && overlap(program_.buffers(other), program_.buffers(index)))
        return invalid("input buffers \"", program_.buffers(other).name(), "\" and \"", program_.buffers(index).name(), "\" overlap");
    defined_by_[index] = kOutside;
    return {};
  }

  Status checkCall(int index) {
    const Call& call = program_.calls(index);
    EXO_ASSIGN(const CallNeeds needs, callNeeds(program_, call, facts_));
    EXO_TRY(checkAliasing(call, needs));
    const auto touch = [&](const OperandNeed& need, const Operand& operand, Mode mode) {
      const bool is_cache = need.kind == OperandNeed::Kind::kCache;
      return Touch{index, mode, is_cache, is_cache ? operand.cache() : operand.buffer(),
                   need.access == Access::kSame ? needs.unit : Unit::kOwn};
    };
    for (int i = 0; i < call.in_size(); ++i) {
      const OperandNeed& need = needs.in[i];
      if (need.kind == OperandNeed::Kind::kBuffer) {
        EXO_TRY(checkRead(need, call.in(i).buffer()));
        EXO_TRY(record(touch(need, call.in(i), Mode::kRead)));
      } else if (need.kind == OperandNeed::Kind::kCache) {
        const bool writes = call.has_kernel() && program_.kernels(static_cast<int>(call.kernel())).op() == Kernel::KV_APPEND;
        EXO_TRY(record(touch(need, call.in(i), writes ? Mode::kWrite : Mode::kRead)));
      }
    }
    for (int i = 0; i < call.out_size(); ++i) {
      EXO_TRY(record(touch(needs.out[i], call.out(i), Mode::kWrite)));
      define(call.out(i).buffer(), index);
    }
    return {};
  }

  static bool mayBeInPlace(const Program& program, const Call& call) {
    if (call.has_collective()) return call.collective().op() == program::Collective::ALL_REDUCE;
    switch (program.kernels(static_cast<int>(call.kernel())).op()) {
      case Kernel::HEAD_NORM:
      case Kernel::BIAS_ADD:
      case Kernel::ADD:
      case Kernel::SILU_MUL:
      case Kernel::ROPE: return true;
      default: return false;
    }
  }

  /// in and out share bytes only entirely, and where the op allows it; outputs share none.
  Status checkAliasing(const Call& call, const CallNeeds& needs) const {
    for (int o = 0; o < call.out_size(); ++o) {
      const Buffer& out = program_.buffers(static_cast<int>(call.out(o).buffer()));
      for (int other = 0; other < o; ++other)
        if (overlap(out, program_.buffers(static_cast<int>(call.out(other).buffer()))))
          return invalid("outputs ", other, " and ", o, " share bytes");
      for (int i = 0; i < call.in_size(); ++i) {
        if (needs.in[i].kind != OperandNeed::Kind::kBuffer) continue;
        const Buffer& in = program_.buffers(static_cast<int>(call.in(i).buffer()));
        const bool in_place = mayBeInPlace(program_, call) && in.offset_bytes() == out.offset_bytes();
        if (overlap(in, out) && !in_place)
          return invalid("input \"", in.name(), "\" and output \"", out.name(), "\" share bytes, which this op cannot do");
      }
    }
    return {};
  }

  Status checkRead(const OperandNeed& need, uint32_t index) const {
    const Buffer& buffer = program_.buffers(static_cast<int>(index));
    const int definer = defined_by_[index];
    if (definer == kNobody && buffer.columns() > 0)
      return invalid("reads buffer \"", buffer.name(), "\", which holds nothing here: never written, or overwritten since");
    return checkOrigin(need, buffer, definer);
  }

  /// Integers that kernels use as indices must be what the right op made.
  Status checkOrigin(const OperandNeed& need, const Buffer& buffer, int definer) const {
    if (need.origin == Origin::kAny) return {};
    if (need.origin == Origin::kRowsInput) {
      if (definer == kOutside && buffer.input() == "rows") return {};
      return invalid("operand ", need.name, " must be the input \"rows\", got buffer \"", buffer.name(), "\"");
    }
    const Kernel::Op maker = need.origin == Origin::kRouterIds ? Kernel::ROUTER_TOP_K : Kernel::EXPERT_DISPATCH;
    const int output = need.origin == Origin::kDispatchOrder ? 0 : 1;   // ids of the router and segments are the second
    if (definer >= 0 && madeBy(definer, maker, output, buffer, need)) return {};
    return invalid("operand ", need.name, " must be output ", output, " of ", Kernel::Op_Name(maker),
                   " with the same experts, got buffer \"", buffer.name(), "\"");
  }

  bool madeBy(int definer, Kernel::Op maker, int output, const Buffer& buffer, const OperandNeed& need) const {
    const Call& call = program_.calls(definer);
    if (!call.has_kernel() || program_.kernels(static_cast<int>(call.kernel())).op() != maker || call.out_size() <= output) return false;
    if (&program_.buffers(static_cast<int>(call.out(output).buffer())) != &buffer) return false;
    const int64_t experts = static_cast<int64_t>(program_.kernels(static_cast<int>(call.kernel())).experts());
    return experts == need.experts;
  }

  Status record(const Touch& touch) {
    for (const Touch& earlier : touches_) {
      if (earlier.call == touch.call || (earlier.mode == Mode::kRead && touch.mode == Mode::kRead)) continue;
      if (earlier.is_cache != touch.is_cache) continue;
      const bool same = earlier.index == touch.index;
      const bool shared = same || (!touch.is_cache && overlap(program_.buffers(static_cast<int>(earlier.index)),
                                                              program_.buffers(static_cast<int>(touch.index))));
      if (!shared) continue;
      if (sameShare(earlier, touch) || readsLead(earlier, touch)) continue;
      return invalid("touches bytes of ", touch.is_cache ? "cache" : "buffer", " \"", nameOf(touch), "\" that call ", earlier.call,
                     " \"", program_.calls(earlier.call).name(), "\" also touches, in one region and not by the same rows or columns");
    }
    touches_.push_back(touch);
    return {};
  }

  /// Both walk the same rows, or columns, of the same bytes: a thread meets only what it wrote itself. Calls of a chain have
  /// the same units (regions.h).
  bool sameShare(const Touch& a, const Touch& b) const {
    const bool one_chain = program_.calls(a.call).chain() == program_.calls(b.call).chain();
    if (a.is_cache || !one_chain || a.own == Unit::kOwn || a.own != b.own) return false;
    const Buffer& left = program_.buffers(static_cast<int>(a.index));
    const Buffer& right = program_.buffers(static_cast<int>(b.index));
    if (left.offset_bytes() != right.offset_bytes() || left.rows() != right.rows()) return false;
    if (a.own == Unit::kColumns) return left.encoding() == right.encoding() && left.columns() == right.columns();
    return rowBytes(left.encoding(), static_cast<int64_t>(left.columns())) == rowBytes(right.encoding(), static_cast<int64_t>(right.columns()));
  }

  /// What the lead writes is there for whoever comes behind it.
  bool readsLead(const Touch& lead, const Touch& reader) const {
    if (!region_->led || lead.is_cache || lead.mode != Mode::kWrite || reader.mode != Mode::kRead) return false;
    const int behind = region_->chains.front().last;
    return lead.call < behind && reader.call >= behind && lead.index == reader.index;
  }

  const std::string& nameOf(const Touch& touch) const {
    return touch.is_cache ? program_.caches(static_cast<int>(touch.index)).name() : program_.buffers(static_cast<int>(touch.index)).name();
  }

  void define(uint32_t index, int call) {
    const Buffer& written = program_.buffers(static_cast<int>(index));
    for (int other = 0; other < program_.buffers_size(); ++other)
      if (defined_by_[other] != kNobody && overlap(written, program_.buffers(other))) defined_by_[other] = kNobody;
    defined_by_[index] = call;
  }

  Status checkOutputs() const {
    const auto check = [this](const char* what, uint32_t index) -> Status {
      if (defined_by_[index] != kNobody) return {};
      return invalid(what, ": buffer \"", program_.buffers(static_cast<int>(index)).name(), "\" holds nothing at the end of the step");
    };
    if (program_.has_output_values()) EXO_TRY(check("output_values", program_.output_values()));
    if (program_.has_output_ids()) EXO_TRY(check("output_ids", program_.output_ids()));
    if (program_.has_logits()) EXO_TRY(check("logits", program_.logits()));
    return {};
  }

  const Program& program_;
  const ProgramFacts& facts_;
  const std::vector<Region>& regions_;
  std::vector<int> defined_by_;     // per buffer: the call whose value it holds
  std::vector<Touch> touches_;      // of this region
  const Region* region_ = nullptr;
};

}  // namespace

Status checkHazards(const Program& program, const ProgramFacts& facts, const std::vector<Region>& regions) {
  return Hazards(program, facts, regions).check();
}

}  // namespace exo::runtime
