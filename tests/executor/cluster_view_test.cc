#include "executor/cluster_view.h"

#include <gtest/gtest.h>

namespace exo {
namespace {

using cluster::EngineReport;
using cluster::MemberStatus;
using cluster::NodeReport;
using cluster::NodeState;

/// An engine that does nothing.
class Idle final : public serve::CompletionEngine {
 public:
  std::variant<serve::RequestId, serve::Refusal> submit(serve::CompletionRequest, std::shared_ptr<serve::CompletionSink>) override { return serve::Refusal{}; }
  void cancel(serve::RequestId) override {}
  const serve::ModelInfo& model() const override { return model_; }
  serve::EngineState state() const override { return serve::EngineState::kServing; }
  serve::Metrics metrics() const override { return {.accepted = 3}; }
  std::vector<serve::RequestStatus> requests() const override { return {{.id = 5, .label = "chat"}}; }

 private:
  const serve::ModelInfo model_;
};

EngineReport::Link link(uint32_t to, uint64_t sent_bytes) { return {.to = to, .transport = "tcp", .why = "another host", .sent_bytes = sent_bytes}; }

MemberStatus serving(std::vector<EngineReport::Link> links) {
  return {.state = NodeState::kServing, .report = NodeReport{.engine = {EngineReport::Memory{1, 2, 3, 4}, std::move(links)}, .resident_bytes = 9, .machine = {.processors = 8}}};
}

TEST(ClusterViewTest, SaysOfNodesWhatTheySay) {
  const Idle engine;
  ClusterView view({"a", "b", "c"});
  const serve::ClusterFacts facts = view.facts(10, {serving({}), {.state = NodeState::kLoading, .loading = {{1, 2}}}, {.state = NodeState::kJoining}}, engine);
  ASSERT_EQ(facts.nodes.size(), 3u);
  EXPECT_EQ(facts.nodes[0].name, "a");
  EXPECT_EQ(facts.nodes[0].state, "serving");
  EXPECT_EQ(facts.nodes[0].memory->kv, 2u);
  EXPECT_EQ(facts.nodes[0].resident_bytes, 9u);
  EXPECT_EQ(facts.nodes[0].reading->processors, 8);
  EXPECT_EQ(facts.nodes[1].state, "loading");
  EXPECT_EQ(facts.nodes[1].loading->second, 2u);
  EXPECT_FALSE(facts.nodes[1].memory);
  EXPECT_EQ(facts.nodes[2].state, "joining");
  EXPECT_EQ(facts.metrics.accepted, 3u);
  EXPECT_EQ(facts.requests[0].id, 5u);
  EXPECT_EQ(facts.time, 10);
}

TEST(ClusterViewTest, ALinksTrafficIsThatOfBothEndsPerSecond) {
  const Idle engine;
  ClusterView view({"a", "b", "c"});
  const auto before = view.facts(10, {serving({link(1, 1000), link(2, 0)}), serving({link(0, 500)}), serving({link(0, 0)})}, engine);
  ASSERT_EQ(before.links.size(), 2u);
  EXPECT_FALSE(before.links[0].sent_bytes_per_s);   // since when?
  // a sent 4000 more to b, b 2000 more to a, in two seconds: 3000 a second.
  const auto now = view.facts(12, {serving({link(1, 5000), link(2, 10)}), serving({link(0, 2500)}), serving({link(0, 0)})}, engine);
  EXPECT_EQ(now.links[0].from + now.links[0].to, "ab");
  EXPECT_EQ(now.links[0].transport, "tcp");
  EXPECT_EQ(now.links[0].why, "another host");
  EXPECT_EQ(now.links[0].sent_bytes_per_s, 3000);
  EXPECT_EQ(now.links[1].sent_bytes_per_s, 5);
}

TEST(ClusterViewTest, ALostNodeHoldsNothingAndWrongRanksAreNotLinks) {
  const Idle engine;
  ClusterView view({"a", "b"});
  MemberStatus lost = serving({link(0, 7)});
  lost.state = NodeState::kLost;
  const auto facts = view.facts(10, {serving({link(0, 1), link(9, 1)}), lost}, engine);
  EXPECT_EQ(facts.nodes[1].state, "lost");
  EXPECT_FALSE(facts.nodes[1].memory);
  EXPECT_TRUE(facts.links.empty());
}

}  // namespace
}  // namespace exo
