#include "executor/runtime/regions.h"

#include "codegen/kernel.h"
#include "executor/runtime/program_check.h"

namespace exo::runtime {
namespace {

using program::Call;
using program::Program;

/// Two calls with equal divisions give a thread the same rows, or the same share of columns.
struct Division {
  Unit unit = Unit::kOwn;
  RowCount rows;
  int64_t units = 0;           // of kColumns
  friend bool operator==(const Division&, const Division&) = default;
};

Result<Division> divisionOf(const Program& program, const ProgramFacts& facts, const Call& call) {
  EXO_ASSIGN(const CallNeeds needs, callNeeds(program, call, facts));
  EXO_ASSIGN(const RowCount rows, rowCount(call.rows(), facts));
  Division division{.unit = needs.unit, .rows = rows};
  if (needs.unit == Unit::kColumns) division.units = codegen::workUnits(program.kernels(static_cast<int>(call.kernel())), 1);
  return division;
}

Status checkChain(const Program& program, const ProgramFacts& facts, const Chain& chain) {
  EXO_ASSIGN(const Division first, divisionOf(program, facts, program.calls(chain.first)));
  for (int i = chain.first + 1; i < chain.last; ++i) {
    EXO_ASSIGN(const Division other, divisionOf(program, facts, program.calls(i)));
    if (first.unit == Unit::kOwn || other != first)
      return invalid("call ", i, " \"", program.calls(i).name(), "\" is in one chain with \"", program.calls(chain.first).name(),
                     "\" but not divided over threads as that is");
  }
  return {};
}

/// A chain by rows, then chains by columns only.
Result<bool> hasLead(const Program& program, const ProgramFacts& facts, const Region& region) {
  for (size_t c = 0; c < region.chains.size(); ++c) {
    EXO_ASSIGN(const Division division, divisionOf(program, facts, program.calls(region.chains[c].first)));
    if (division.unit != (c == 0 ? Unit::kRow : Unit::kColumns)) return false;
  }
  return region.chains.size() > 1;
}

/// How many calls at the head of the chain are matmuls of as many rows as the lead makes.
Result<int> streamingCalls(const Program& program, const ProgramFacts& facts, const Chain& lead, const Chain& chain) {
  EXO_ASSIGN(const RowCount made, rowCount(program.calls(lead.first).rows(), facts));
  int i = chain.first;
  for (; i < chain.last; ++i) {
    const Call& call = program.calls(i);
    EXO_ASSIGN(const RowCount rows, rowCount(call.rows(), facts));
    if (program.kernels(static_cast<int>(call.kernel())).op() != program::Kernel::MATMUL || rows != made) break;
  }
  return i - chain.first;
}

Status findLead(const Program& program, const ProgramFacts& facts, Region& region) {
  EXO_ASSIGN(region.led, hasLead(program, facts, region));
  if (!region.led) return {};
  for (size_t c = 1; c < region.chains.size(); ++c) {
    EXO_ASSIGN(region.chains[c].streaming, streamingCalls(program, facts, region.chains[0], region.chains[c]));
  }
  return {};
}

Status checkRegion(const Program& program, const ProgramFacts& facts, const Region& region) {
  for (const Chain& chain : region.chains) EXO_TRY(checkChain(program, facts, chain));
  if (region.last() - region.first() == 1) return {};
  for (int i = region.first(); i < region.last(); ++i)
    if (program.calls(i).has_collective())
      return invalid("collective \"", program.calls(i).name(), "\" must be a region by itself, but shares \"", program.calls(i).region(), "\"");
  return {};
}

}  // namespace

Result<std::vector<Region>> regionsOf(const Program& program, const ProgramFacts& facts) {
  std::vector<Region> regions;
  for (int i = 0; i < program.calls_size(); ++i) {
    const Call& call = program.calls(i);
    const bool new_region = i == 0 || program.calls(i - 1).region() != call.region();
    const uint32_t next = new_region ? 0 : static_cast<uint32_t>(regions.back().chains.size());
    if (new_region) regions.emplace_back();
    std::vector<Chain>& chains = regions.back().chains;
    if (call.chain() == next) {
      chains.push_back({i, i + 1});
    } else if (!chains.empty() && call.chain() == next - 1) {
      chains.back().last = i + 1;
    } else {
      return invalid("call ", i, " \"", call.name(), "\": expected chain ", next, " of region \"", call.region(), "\", got ", call.chain());
    }
  }
  for (Region& region : regions) {
    EXO_TRY(checkRegion(program, facts, region));
    EXO_TRY(findLead(program, facts, region));
  }
  return regions;
}

}  // namespace exo::runtime
