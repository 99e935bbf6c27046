// Damaged programs are refused with an error: named cases, then every number of a program replaced by hostile ones.
#include "executor/runtime/program_check.h"

#include <google/protobuf/message.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "executor/runtime/engine.h"
#include "tests/executor/runtime/tiny_model.h"

namespace exo::runtime {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using program::Program;

TEST(ProgramCheck, TheProgramsOfTheTestsAreSound) {
  for (const char* name : {"tiny_llama", "tiny_llama_tp2_rank0", "tiny_llama_tp2_rank1", "tiny_moe", "tiny_moe_tp2_rank0", "tiny_moe_tp2_rank1",
                           "tiny_llama_pp2_rank0", "tiny_llama_pp2_rank1", "tiny_llama_pp2_rank2"}) {
    const Status status = checkProgram(testing::loadProgram(name));
    EXPECT_TRUE(status.ok()) << name << ": " << status.error();
  }
}

struct Damage {
  const char* words;                        // in the error
  std::function<void(Program&)> apply;
  const char* program = "tiny_llama";
};

int callNamed(const Program& program, const std::string& name) {
  for (int i = 0; i < program.calls_size(); ++i)
    if (program.calls(i).name() == name) return i;
  ADD_FAILURE() << name;
  return 0;
}
program::Call& call(Program& program, const std::string& name) { return *program.mutable_calls(callNamed(program, name)); }
program::Kernel& kernelOf(Program& program, const std::string& name) { return *program.mutable_kernels(static_cast<int>(call(program, name).kernel())); }
program::Buffer& buffer(Program& program, const std::string& name) {
  for (auto& candidate : *program.mutable_buffers())
    if (candidate.name() == name) return candidate;
  ADD_FAILURE() << name;
  return *program.mutable_buffers(0);
}

/// A call that receives a buffer from `peer`, before the call named `before`.
void receiveInto(Program& program, int index, program::Extent rows, uint32_t peer, const std::string& before) {
  int place = callNamed(program, before);
  program::Call& receive = *program.add_calls();
  receive.set_name("forged");
  receive.mutable_collective()->set_op(program::Collective::RECV);
  receive.mutable_collective()->add_peers(peer);
  receive.add_out()->set_buffer(static_cast<uint32_t>(index));
  receive.set_rows(rows);
  for (int i = program.calls_size() - 1; i > place; --i) program.mutable_calls()->SwapElements(i, i - 1);
}

/// One-shot up to 64 B, chain above, of ranks 0 and 1.
program::ReduceChoice& addReduce(Program& program) {
  program::ReduceChoice& choice = *program.add_reduces();
  choice.add_ranks(0);
  choice.add_ranks(1);
  choice.add_steps()->set_up_to_bytes(64);
  choice.add_steps()->set_algorithm(program::ReduceChoice::CHAIN);
  return choice;
}

/// Moves call `other` into the region of call `first`, as chain `chain`.
void joinRegions(Program& program, const std::string& first, const std::string& other, uint32_t chain) {
  call(program, other).set_region(call(program, first).region());
  call(program, other).set_chain(chain);
}

TEST(ProgramCheck, AChoiceOfAlgorithmsIsSound) {
  Program program = testing::loadProgram("tiny_llama_tp2_rank0");
  addReduce(program);
  const Status status = checkProgram(program);
  EXPECT_TRUE(status.ok()) << status.error();
}

TEST(ProgramCheck, DamageIsNamed) {
  const Damage cases[] = {
      {"buffer 17 of 17", [](Program& p) { call(p, "embed").mutable_out(0)->set_buffer(17); }},
      {"weight 4294967295 of", [](Program& p) { call(p, "lm_head").mutable_in(1)->set_weight(~0u); }},
      {"cache 2 of 2", [](Program& p) { call(p, "model.layers.1.self_attn.append").mutable_in(2)->set_cache(2); }},
      {"kernel 99 of", [](Program& p) { call(p, "embed").set_kernel(99); }},
      {"must be a weight", [](Program& p) { call(p, "embed").mutable_in(1)->set_buffer(0); }},
      {"takes 2 operands in `in`, got 1", [](Program& p) { call(p, "embed").mutable_in()->RemoveLast(); }},
      {"takes 1 operands in `out`, got 0", [](Program& p) { call(p, "embed").clear_out(); }},
      {"neither a kernel nor", [](Program& p) { call(p, "embed").clear_kernel(); }},
      {"unknown op 0", [](Program& p) { p.mutable_kernels(0)->set_op(program::Kernel::UNSPECIFIED); }},
      {"offset_bytes must be a multiple of 64", [](Program& p) { p.mutable_buffers(3)->set_offset_bytes(32); }},
      {"leave the arena", [](Program& p) { p.mutable_buffers(3)->set_offset_bytes(p.arena_bytes() - 64); }},
      {"leave the arena", [](Program& p) { p.mutable_buffers(3)->set_size_bytes(~uint64_t{0} - 100); }},
      {"size_bytes must be at least 6144", [](Program& p) { buffer(p, "h").set_size_bytes(6143); }},
      {"size_bytes must be at least", [](Program& p) { p.set_max_tokens(p.max_tokens() + 1); }},
      {"but buffer \"h\" is", [](Program& p) { buffer(p, "h").set_columns(32); }},
      {"unknown input \"weather\"", [](Program& p) { buffer(p, "tokens").set_input("weather"); }},
      {"holds nothing here", [](Program& p) { buffer(p, "tokens").clear_input(); }},
      {"must be the input \"rows\"", [](Program& p) {
         auto& forged = *p.add_buffers() = buffer(p, "rows");
         forged.clear_input();
         forged.set_offset_bytes(p.arena_bytes());
         p.set_arena_bytes(p.arena_bytes() + 128);
         receiveInto(p, p.buffers_size() - 1, program::ROWS, 0, "take_rows");
         call(p, "take_rows").mutable_in(1)->set_buffer(p.buffers_size() - 1);
       }, "tiny_llama_pp2_rank1"},
      {"but weight", [](Program& p) { p.mutable_weights(0)->set_rows(96), p.mutable_weights(0)->mutable_slices(0)->set_row_end(96); }},
      {"leave the tensor's 100", [](Program& p) { p.mutable_weights(0)->mutable_slices(0)->set_row_end(101); }},
      {"the slice is", [](Program& p) { p.mutable_weights(0)->mutable_slices(0)->set_row_begin(1); }},
      {"not by the same rows or columns", [](Program& p) { joinRegions(p, "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.attention", 3); }},
      {"not by the same rows or columns", [](Program& p) { joinRegions(p, "model.layers.0.mlp.up_proj", "model.layers.0.mlp.act", 1); }},
      // Behind a lead: what writes over what the lead still reads, what reads rows of a chain beside it, and what is not led because
      // another chain is not divided by columns.
      {"not by the same rows or columns", [](Program& p) { call(p, "model.layers.0.self_attn.q_proj").mutable_out(0)->set_buffer(0); }},
      {"not by the same rows or columns", [](Program& p) { call(p, "model.layers.0.self_attn.k_proj").mutable_in(0)->set_buffer(call(p, "model.layers.0.self_attn.q_proj").out(0).buffer()); }},
      {"not by the same rows or columns", [](Program& p) { joinRegions(p, "model.layers.0.post_attention_layernorm", "model.layers.0.mlp.gate_proj", 1); }},
      {"expected chain 1 of region", [](Program& p) { joinRegions(p, "model.layers.0.mlp.up_proj", "model.layers.0.mlp.act", 2); }},
      {"not divided over threads as that is", [](Program& p) { joinRegions(p, "model.layers.0.mlp.up_proj", "model.layers.0.mlp.act", 0); }},
      {"not divided over threads as that is", [](Program& p) { call(p, "model.layers.0.self_attn.k_proj").set_chain(1), call(p, "model.layers.0.self_attn.v_proj").set_chain(1); }},
      {"must be a region by itself", [](Program& p) { joinRegions(p, "embed", "embed.all_reduce", 1); }, "tiny_llama_tp2_rank0"},
      {"which this op cannot do", [](Program& p) { call(p, "model.layers.0.input_layernorm").mutable_out(0)->set_buffer(0); }},
      {"holds nothing here", [](Program& p) { buffer(p, "up").set_offset_bytes(buffer(p, "gate").offset_bytes()); }},
      {"holds nothing at the end", [](Program& p) { buffer(p, "values").set_offset_bytes(buffer(p, "ids").offset_bytes()), p.mutable_calls()->RemoveLast(); }},
      {"KV head 2 of 2", [](Program& p) { kernelOf(p, "model.layers.0.self_attn.attention").set_first_head(1); }},
      {"grain must be a multiple of 16", [](Program& p) { kernelOf(p, "model.layers.0.self_attn.q_proj").set_grain(8); }},
      {"not divided by columns", [](Program& p) { kernelOf(p, "model.norm").set_grain(16); }},
      {"rope_frequencies must be 8", [](Program& p) { kernelOf(p, "model.layers.0.self_attn.q_rope").mutable_rope_frequencies()->RemoveLast(); }},
      {"page_tokens must be", [](Program& p) { p.set_page_tokens(32); }},
      {"must be TOKENS", [](Program& p) { call(p, "model.layers.0.self_attn.q_rope").set_rows(program::ROWS); }},
      {"output_values and output_ids", [](Program& p) { p.clear_output_ids(); }},
      {"leave the vocabulary", [](Program& p) { p.set_logits_begin(1); }},
      {"rank must be in", [](Program& p) { p.set_rank(1); }},
      {"is outside the 2 of the job", [](Program& p) { call(p, "embed.all_reduce").mutable_collective()->set_ranks(1, 2); }, "tiny_llama_tp2_rank0"},
      {"ranks must ascend", [](Program& p) { call(p, "embed.all_reduce").mutable_collective()->set_ranks(1, 0); }, "tiny_llama_tp2_rank0"},
      {"not among the members", [](Program& p) { p.set_world_size(3), p.set_rank(2); }, "tiny_llama_tp2_rank0"},
      {"not another of the 3 ranks", [](Program& p) { call(p, "send.h").mutable_collective()->set_peers(0, 0); }, "tiny_llama_pp2_rank0"},
      {"ranks must ascend", [](Program& p) { addReduce(p).add_ranks(0); }, "tiny_llama_tp2_rank0"},
      {"is outside the 2 of the job", [](Program& p) { addReduce(p).set_ranks(1, 2); }, "tiny_llama_tp2_rank0"},
      {"the last step must have no limit", [](Program& p) { addReduce(p).mutable_steps()->RemoveLast(); }, "tiny_llama_tp2_rank0"},
      {"the last step must have no limit", [](Program& p) { addReduce(p).clear_steps(); }, "tiny_llama_tp2_rank0"},
      {"limits of steps must ascend", [](Program& p) { addReduce(p).add_steps()->set_up_to_bytes(64), p.mutable_reduces(0)->mutable_steps()->SwapElements(1, 2); }, "tiny_llama_tp2_rank0"},
      {"unknown algorithm 7", [](Program& p) { addReduce(p).mutable_steps(1)->set_algorithm(static_cast<program::ReduceChoice::Algorithm>(7)); }, "tiny_llama_tp2_rank0"},
      {"must be output 1 of ROUTER_TOP_K", [](Program& p) {
         const auto ids = call(p, "model.layers.1.mlp.dispatch").in(0).buffer();
         receiveInto(p, static_cast<int>(ids), program::TOKENS, 1, "model.layers.1.mlp.dispatch");
       }, "tiny_moe_tp2_rank0"},
      {"have 2", [](Program& p) {
         for (auto& kernel : *p.mutable_kernels())
           if (kernel.op() == program::Kernel::WEIGHTED_SUM) kernel.set_top_k(3);
       }, "tiny_moe"},
  };
  for (const Damage& damage : cases) {
    Program program = testing::loadProgram(damage.program);
    damage.apply(program);
    const Status status = checkProgram(program);
    ASSERT_FALSE(status.ok()) << damage.words;
    EXPECT_NE(status.error().message().find(damage.words), std::string::npos) << "wanted: " << damage.words << "\ngot: " << status.error();
  }
}

// --- every number, hostile ---

using Visit = std::function<void(Message&, const FieldDescriptor*, int index)>;   // index -1: not repeated

void forEachScalar(Message& message, const Visit& visit) {
  const auto* reflection = message.GetReflection();
  for (int f = 0; f < message.GetDescriptor()->field_count(); ++f) {
    const FieldDescriptor* field = message.GetDescriptor()->field(f);
    const int count = field->is_repeated() ? reflection->FieldSize(message, field) : reflection->HasField(message, field) ? 1 : 0;
    const bool submessage = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    for (int i = 0; i < count; ++i) {
      if (submessage) {
        forEachScalar(field->is_repeated() ? *reflection->MutableRepeatedMessage(&message, field, i) : *reflection->MutableMessage(&message, field), visit);
      } else {
        visit(message, field, field->is_repeated() ? i : -1);
      }
    }
  }
}

/// Sets a number to the hostile value; false for strings and the like.
bool poison(Message& message, const FieldDescriptor* field, int index, uint64_t value) {
  const auto* r = message.GetReflection();
  const bool repeated = index >= 0;
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32:
      repeated ? r->SetRepeatedUInt32(&message, field, index, static_cast<uint32_t>(value)) : r->SetUInt32(&message, field, static_cast<uint32_t>(value));
      return true;
    case FieldDescriptor::CPPTYPE_UINT64:
      repeated ? r->SetRepeatedUInt64(&message, field, index, value) : r->SetUInt64(&message, field, value);
      return true;
    case FieldDescriptor::CPPTYPE_ENUM:
      if (repeated) return false;
      r->SetEnumValue(&message, field, static_cast<int>(value % 23));
      return true;
    case FieldDescriptor::CPPTYPE_FLOAT:
      repeated ? r->SetRepeatedFloat(&message, field, index, std::numeric_limits<float>::infinity()) : r->SetFloat(&message, field, -1e30f);
      return true;
    case FieldDescriptor::CPPTYPE_BOOL:
      r->SetBool(&message, field, !r->GetBool(message, field));
      return true;
    default: return false;
  }
}

int countScalars(Program& program) {
  int count = 0;
  forEachScalar(program, [&](Message&, const FieldDescriptor*, int) { ++count; });
  return count;
}

TEST(ProgramCheck, EveryNumberMadeHostileIsRefusedOrHarmless) {
  for (const char* name : {"tiny_moe", "tiny_llama_tp2_rank1", "tiny_llama_pp2_rank0"}) {
    const Program sound = testing::loadProgram(name);
    Program copy = sound;
    const int scalars = countScalars(copy);
    ASSERT_GT(scalars, 300);
    int refused = 0, accepted = 0;
    for (const uint64_t value : {uint64_t{0}, uint64_t{1}, uint64_t{3}, uint64_t{65}, uint64_t{1} << 31, (uint64_t{1} << 32) + 5, ~uint64_t{0}, ~uint64_t{0} / 2 + 1}) {
      for (int target = 0; target < scalars; ++target) {
        Program program = sound;
        int index = 0;
        bool changed = false;
        forEachScalar(program, [&](Message& message, const FieldDescriptor* field, int element) {
          if (index++ == target) changed = poison(message, field, element, value);
        });
        if (!changed || google::protobuf::util::MessageDifferencer::Equals(program, sound)) continue;
        checkProgram(program).ok() ? ++accepted : ++refused;
      }
    }
    // What may pass: epsilon, scale, frequencies, cache and page sizes, ... never most.
    EXPECT_GT(refused, 5 * accepted) << name << ": " << accepted << " accepted, " << refused << " refused";
  }
}

/// What passes the check must also run without leaving its memory (meant for the address sanitizer).
TEST(ProgramCheck, WhatPassesRuns) {
  const Program sound = testing::loadProgram("tiny_moe");
  Program copy = sound;
  const int scalars = countScalars(copy);
  const std::vector<int32_t> tokens = {1, 99, 3, 4, 5};
  int ran = 0;
  for (const uint64_t value : {uint64_t{0}, uint64_t{17}}) {
    for (int target = 0; target < scalars; ++target) {
      Program program = sound;
      int index = 0;
      bool is_number = false;
      std::string field_name;
      forEachScalar(program, [&](Message& message, const FieldDescriptor* field, int element) {
        if (index++ != target) return;
        field_name = field->name();
        is_number = poison(message, field, element, value);
      });
      // Names and slices change nothing that is new here; compiling a kernel takes most of the time.
      if (!is_number || field_name.find("row_") == 0 || field_name.find("column_") == 0) continue;
      if (google::protobuf::util::MessageDifferencer::Equals(program, sound) || !checkProgram(program).ok()) continue;
      auto engine = Engine::create(program, {.threads = 2, .object_cache_dir = ::testing::TempDir() + "/runtime_objects"}, testing::readWeight, nullptr);
      if (!engine.ok()) continue;
      const testing::Batch batch = testing::Batch(1).add(tokens, 0, {0}, testing::Batch::Rows::kAll);
      StepOutput output;
      (void)(*engine)->step(batch.input(), &output).ok();
      ++ran;
    }
  }
  EXPECT_GT(ran, 10);
}

}  // namespace
}  // namespace exo::runtime
