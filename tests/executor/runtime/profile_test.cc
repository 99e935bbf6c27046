// A profile written by hand: what the table and the trace say of it.
#include "executor/runtime/profile.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/executor/runtime/tiny_model.h"

namespace exo::runtime {
namespace {

int callNamed(const program::Program& program, const std::string& name) {
  for (int i = 0; i < program.calls_size(); ++i)
    if (program.calls(i).name() == name) return i;
  ADD_FAILURE() << name;
  return 0;
}

/// Two steps of 10 us on two threads: one matmul of 6 and 4 us, then rank 1 is awaited for 3 us.
std::vector<ProfileEvent> twoSteps(const program::Program& program) {
  const int matmul = callNamed(program, "model.layers.0.self_attn.o_proj"), reduce = callNamed(program, "model.layers.0.self_attn.all_reduce");
  std::vector<ProfileEvent> events;
  for (int32_t step : {0, 1}) {
    const int64_t at = 1'000'000 + step * 100'000;
    events.push_back({.step = step, .call = matmul, .rows = 1, .thread = 0, .begin_ns = at, .end_ns = at + 6'000});
    events.push_back({.step = step, .call = matmul, .rows = 1, .thread = 1, .begin_ns = at + 1'000, .end_ns = at + 5'000});
    events.push_back({.step = step, .call = reduce, .rows = 1, .thread = 1, .begin_ns = at + 6'000, .end_ns = at + 10'000});
    events.push_back({.step = step, .call = reduce, .rows = 1, .thread = 1, .peer = 1, .begin_ns = at + 6'000, .end_ns = at + 9'000});
  }
  return events;
}

TEST(Profile, ACallLastsFromItsFirstThreadToItsLast) {
  const auto program = testing::loadProgram("tiny_llama_tp2_rank0");
  const auto times = callTimes(twoSteps(program));
  ASSERT_EQ(times.size(), 2u);
  EXPECT_EQ(times[0].num_steps, 2);
  EXPECT_NEAR(times[0].wall_s, 12e-6, 1e-12);
  EXPECT_NEAR(times[1].wall_s, 8e-6, 1e-12);
}

TEST(Profile, TheTableAddsUp) {
  const auto program = testing::loadProgram("tiny_llama_tp2_rank0");
  const std::string table = profileTable(program, twoSteps(program), 0);
  EXPECT_NE(table.find("2 steps of 0.010 ms on 2 threads"), std::string::npos) << table;
  EXPECT_NE(table.find("0.006   60.0 %       83 %"), std::string::npos) << table;   // 10 of 2 x 6 us
  EXPECT_NE(table.find("waited for rank 1: 0.003 ms/step, 30.0 %"), std::string::npos) << table;
  EXPECT_NE(table.find("computed or communicated 70 %"), std::string::npos) << table;   // 14 of 2 x 10 us
  EXPECT_EQ(profileTable(program, {}, 0), "no step was profiled\n");
}

TEST(Profile, TheTraceHasARowPerThreadAndPeer) {
  const auto program = testing::loadProgram("tiny_llama_tp2_rank0");
  const auto trace = nlohmann::json::parse(profileTrace(program, twoSteps(program), 0))["traceEvents"];
  std::map<std::string, int> rows;
  std::map<int, int> events;
  for (const auto& event : trace) {
    if (event["name"] == "thread_name") rows[event["args"]["name"]] = event["tid"];
    if (event["ph"] == "X") ++events[event["tid"]];
  }
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(events[rows.at("thread 0")], 2);
  EXPECT_EQ(events[rows.at("thread 1")], 4);
  EXPECT_EQ(events[rows.at("waiting for rank 1")], 2);
  EXPECT_EQ(trace[0]["ts"], 1000.0);
  EXPECT_EQ(trace[0]["dur"], 6.0);
  EXPECT_EQ(trace[0]["args"]["call"], "model.layers.0.self_attn.o_proj");
}

}  // namespace
}  // namespace exo::runtime
