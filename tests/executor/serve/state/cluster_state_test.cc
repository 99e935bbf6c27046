#include "executor/serve/state/cluster_state.h"

#include <gtest/gtest.h>

#include <fstream>

namespace exo::serve {
namespace {

using nlohmann::json;

plan::Plan twoNodes() {
  plan::Plan plan;
  plan.set_content_hash("\x0a\xff");
  plan.set_model("demo");
  for (const char* name : {"desk", "mini", "spare"}) plan.add_nodes()->set_name(name);
  for (int rank = 0; rank < 2; ++rank) {
    plan.add_programs()->set_rank(static_cast<uint32_t>(rank));
    plan.mutable_nodes(rank)->set_rank(static_cast<uint32_t>(rank));
  }
  plan.mutable_nodes(0)->set_read_gb_per_s(40);
  plan::Link& link = *plan.add_links();
  link.set_from("desk"), link.set_to("mini"), link.set_transport("tcp"), link.set_latency_us(21);
  return plan;
}

ClusterState stateOf(const std::string& instance = "i1") { return ClusterState(twoNodes(), nullptr, {.name = "demo", .context_length = 64}, instance, 1000); }

TEST(ClusterStateTest, TheSnapshotSaysWhatThePlanKnows) {
  const json state = json::parse(stateOf().snapshot());
  EXPECT_EQ(state["instance"], "i1");
  EXPECT_EQ(state["plan"]["hash"], "0aff");
  EXPECT_EQ(state["topology"]["nodes"][0]["read_gb_per_s"], 40);
  EXPECT_TRUE(state["topology"]["nodes"][1]["read_gb_per_s"].is_null());
  EXPECT_TRUE(state["topology"]["nodes"][2]["rank"].is_null());
  EXPECT_EQ(state["topology"]["links"][0]["latency_us"], 21);
  EXPECT_FALSE(state.contains("engine"));  // nothing was published yet
}

TEST(ClusterStateTest, EventsCarryWhatChanged) {
  ClusterState state = stateOf();
  state.publish({.time = 1, .engine = EngineState::kServing});
  const auto first = state.next("");
  ASSERT_TRUE(first);
  EXPECT_EQ(json::parse(first->data), json::parse(state.snapshot()));
  EXPECT_EQ(state.next(first->id), std::nullopt);

  RequestStatus request{.id = 7, .label = "chat", .state = RequestStatus::State::kDecoding, .generated_tokens = 3};
  state.publish({.time = 2, .engine = EngineState::kServing, .requests = {request}});
  const auto second = state.next(first->id);
  ASSERT_TRUE(second);
  const json change = json::parse(second->data);
  EXPECT_FALSE(change.contains("shards"));
  EXPECT_FALSE(change.contains("engine"));
  EXPECT_EQ(change["requests"][0]["state"], "decoding");
  EXPECT_EQ(change["sample"]["time"], 2);
}

TEST(ClusterStateTest, AnUnknownEventIdGetsEverything) {
  const ClusterState state = stateOf();
  for (const std::string id : {"", "i0-2", "i1-999", "i1-x", "i1-2x", "i1--1", "i1-"}) {
    const auto event = state.next(id);
    ASSERT_TRUE(event) << id;
    EXPECT_TRUE(json::parse(event->data).contains("shards")) << id;
  }
}

TEST(ClusterStateTest, NodesTellWhatIsKnownOfThem) {
  ClusterState state = stateOf();
  NodeStatus loading{.name = "desk", .state = "loading", .loading = {{3, 9}}};
  NodeStatus serving{.name = "mini", .state = "serving", .memory = {{10, 20, 30, 40}}, .resident_bytes = 99, .reading = cluster::NodeReading{.processors = 4}};
  state.publish({.time = 1, .nodes = {loading, serving}, .links = {{"desk", "mini", "tcp", "", 12.5}}});
  const json out = json::parse(state.snapshot());
  EXPECT_EQ(out["nodes"][0]["loading"]["total_bytes"], 9);
  EXPECT_TRUE(out["nodes"][0]["memory"].is_null());
  EXPECT_TRUE(out["nodes"][0]["resident_bytes"].is_null());
  EXPECT_EQ(out["nodes"][1]["memory"]["kv"], 20);
  EXPECT_EQ(out["nodes"][1]["reading"]["processors"], 4);
  EXPECT_EQ(out["links"][0]["sent_bytes_per_s"], 12.5);
  EXPECT_TRUE(out["links"][0]["why"].is_null());
}

TEST(ClusterStateTest, LabelsNeedNotBeUtf8) {
  ClusterState state = stateOf();
  state.publish({.time = 1, .requests = {{.id = 1, .label = "caf\xe9"}}});
  EXPECT_EQ(json::parse(state.snapshot())["requests"][0]["label"], "caf\xef\xbf\xbd");
}

TEST(ClusterStateTest, TheSeriesHasAColumnPerPeer) {
  ClusterState state = stateOf();
  for (double time : {1.0, 2.0}) state.publish({.time = time});
  const json series = json::parse(state.series(0));
  EXPECT_EQ(series["columns"]["time"], json({2.0}));
  EXPECT_TRUE(series["columns"].contains("peer_wait.1"));
  EXPECT_FALSE(series["columns"].contains("peer_wait.2"));
}

TEST(ReadReportTest, MissingIsNullAndDamagedIsAnError) {
  const std::filesystem::path directory = std::filesystem::path(testing::TempDir()) / ("report_" + std::to_string(::getpid()));
  std::filesystem::create_directories(directory);
  const auto missing = readReport(directory);
  ASSERT_TRUE(missing.ok());
  EXPECT_TRUE(missing->is_null());
  std::ofstream(directory / "report.json") << "{\"plan\": ";
  const auto damaged = readReport(directory);
  ASSERT_FALSE(damaged.ok());
  EXPECT_EQ(damaged.error().code(), ErrorCode::kInvalidInput);
  std::ofstream(directory / "report.json") << "{\"plan\": \"tp2\"}";
  EXPECT_EQ((*readReport(directory))["plan"], "tp2");
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace exo::serve
