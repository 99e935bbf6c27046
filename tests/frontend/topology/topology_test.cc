#include "frontend/topology/topology.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>

namespace exo {
namespace {

constexpr const char* kTwo = R"({"nodes": [
  {"name": "desk", "address": "10.0.0.2:52416", "memory_gib": 64, "cores": 16, "read_gb_per_s": 80.5, "int8_gop_per_s": 2000, "f32_gflop_per_s": 900,
   "read_by_threads": [[1, 21.5], [16, 80.5]]},
  {"name": "mini", "address": "[fe80::2]:1"}],
 "links": [{"between": ["desk", "mini"], "transport": "rdma", "latency_us": 2.5, "bandwidth_gbit_per_s": 100, "barrier_us": 3, "curve": [[64, 2.5], [4096, 3.5]]}],
 "collectives": [{"operation": "all_reduce", "group": ["desk", "mini"], "barrier_us": 4,
                  "steps": [{"algorithm": "one-shot", "up_to_bytes": 65536}, {"algorithm": "hierarchical"}],
                  "timings": [{"bytes": 4096, "one-shot": 5, "hierarchical": 9.5}]}]})";

/// The message of the error that `text` must give.
std::string refusal(const std::string& text) {
  const auto result = parseTopology(text, "t.json");
  if (result.ok()) return "(accepted)";
  EXPECT_EQ(result.error().code(), ErrorCode::kInvalidInput);
  return result.error().message();
}
std::string nodes(const std::string& list) { return "{\"nodes\": [" + list + "]}"; }
const std::string kA = R"({"name": "a", "address": "h:1"})", kB = R"({"name": "b", "address": "h:2"})";
std::string linked(const std::string& links) { return "{\"nodes\": [" + kA + ", " + kB + "], \"links\": [" + links + "]}"; }

void expectRefused(const std::string& text, const std::string& part) {
  const std::string message = refusal(text);
  EXPECT_NE(message.find(part), std::string::npos) << "got: " << message << "\nfor: " << text.substr(0, 300);
}

TEST(Topology, ReadsEveryField) {
  const auto result = parseTopology(kTwo, "t.json");
  ASSERT_TRUE(result.ok()) << result.error();
  ASSERT_EQ(result->nodes.size(), 2u);
  const TopologyNode& desk = result->nodes[0];
  EXPECT_EQ(desk.name, "desk");
  EXPECT_EQ(desk.address, "10.0.0.2:52416");
  EXPECT_EQ(desk.memory_gib, 64);
  EXPECT_EQ(desk.cores, 16);
  EXPECT_EQ(desk.read_gb_per_s, 80.5);
  EXPECT_EQ(desk.int8_gop_per_s, 2000);
  EXPECT_EQ(desk.f32_gflop_per_s, 900);
  EXPECT_EQ(result->nodes[1].memory_gib, 0);
  EXPECT_EQ(hostOf(result->nodes[1]), "[fe80::2]");
  ASSERT_EQ(result->links.size(), 1u);
  EXPECT_EQ(result->links[0].from, "desk");
  EXPECT_EQ(result->links[0].to, "mini");
  EXPECT_EQ(result->links[0].transport, TopologyLink::Transport::kRdma);
  EXPECT_EQ(result->links[0].latency_us, 2.5);
  EXPECT_EQ(result->links[0].bandwidth_gbit_per_s, 100);
  EXPECT_EQ(result->links[0].barrier_us, 3);
  ASSERT_EQ(result->links[0].curve.size(), 2u);
  EXPECT_EQ(result->links[0].curve[1].bytes, 4096u);
  EXPECT_EQ(result->links[0].curve[1].us, 3.5);
  ASSERT_EQ(desk.read_by_threads.size(), 2u);
  EXPECT_EQ(desk.read_by_threads[1].threads, 16);
  EXPECT_EQ(desk.read_by_threads[1].gb_per_s, 80.5);
  ASSERT_EQ(result->collectives.size(), 1u);
  const TopologyCollective& collective = result->collectives[0];
  EXPECT_EQ(collective.steps, (std::vector<ReduceStep>{{ReduceAlgorithm::kOneShot, 65536}, {ReduceAlgorithm::kHierarchical, std::nullopt}}));
  EXPECT_EQ(collective.barrier_us, 4);
  ASSERT_EQ(collective.timings.size(), 1u);
  EXPECT_EQ(collective.timings[0].bytes, 4096u);
  EXPECT_EQ(collective.timings[0].us[3], 9.5);
  EXPECT_EQ(collective.timings[0].us[1], 0) << "not measured";
}

TEST(Topology, SuggestsTheNearestKnownField) {
  expectRefused(nodes(R"({"name": "a", "address": "h:1", "memory_gb": 4})"), R"(nodes[0]: unknown field "memory_gb" (nearest known: "memory_gib"))");
  expectRefused(R"({"node": []})", R"(unknown field "node" (nearest known: "nodes"))");
  expectRefused(linked(R"({"between": ["a","b"], "latency_ms": 1})"), R"(links[0]: unknown field "latency_ms" (nearest known: "latency_us"))");
  expectRefused(linked(R"({"between": ["a","bb"]})"), R"(there is no node "bb" (nearest known: "b"))");
}

TEST(Topology, RefusesWrongTypesAndRanges) {
  const auto with = [](const std::string& field) { return nodes("{\"name\": \"a\", \"address\": \"h:1\", " + field + "}"); };
  expectRefused(with(R"("memory_gib": "64")"), R"(nodes[0].memory_gib: must be a number, got the string "64")");
  expectRefused(with(R"("memory_gib": -1)"), "memory_gib: must be above 0");
  expectRefused(with(R"("read_gb_per_s": 0)"), "read_gb_per_s: must be above 0");
  expectRefused(with(R"("read_gb_per_s": 1e999)"), "not valid JSON");
  expectRefused(with(R"("read_gb_per_s": NaN)"), "not valid JSON");
  expectRefused(with(R"("read_gb_per_s": 1e30)"), "read_gb_per_s: must lie between");
  expectRefused(with(R"("cores": 1.5)"), "cores: must be a whole number");
  expectRefused(with(R"("cores": -4)"), "cores: must be a whole number");
  expectRefused(with(R"("cores": 99999999999999999999)"), "cores: must be a whole number");
  expectRefused(with(R"("cores": null)"), "cores: must be a whole number from 1 to 65536, got null");
  expectRefused(nodes(R"({"name": 3, "address": "h:1"})"), "name: must be a string, got 3");
  expectRefused(nodes(R"({"address": "h:1"})"), "field \"name\" is missing");
  expectRefused(nodes(R"({"name": "a"})"), "field \"address\" is missing");
  expectRefused(nodes("3"), "nodes[0]: must be an object, got 3");
  expectRefused(R"({"nodes": {}})", "nodes: must be an array");
  expectRefused(R"([])", "must be an object, got an array");
  expectRefused("{}", "field \"nodes\" is missing");
  expectRefused(nodes(""), "at least one node");
  expectRefused("", "not valid JSON");
  expectRefused(std::string(kTwo).substr(0, 100), "not valid JSON");
  expectRefused(R"({"nodes": [], "nodes": []})", "\"nodes\" stands twice");
  expectRefused(nodes(std::string(100000, '[') + std::string(100000, ']')), "nested deeper");
}

TEST(Topology, RefusesNamesAndAddresses) {
  expectRefused(nodes(kA + "," + R"({"name": "a", "address": "h:2"})"), R"(nodes[1].name: "a" is also the name of nodes[0])");
  expectRefused(nodes(kA + "," + R"({"name": "b", "address": "h:1"})"), R"("h:1" is also the address of nodes[0])");
  expectRefused(nodes(R"({"name": "", "address": "h:2"})"), "name: must be 1 to 128 characters");
  expectRefused(nodes(R"({"name": "a b", "address": "h:2"})"), "name: must be 1 to 128 characters");
  for (const char* address : {"h", ":1", "h:", "h:x", "h:70000", "h:-1", "fe80::1:5", "tcp://h:1", "h h:1", "[]:1", "h:000001"})
    expectRefused(nodes(std::string(R"({"name": "a", "address": ")") + address + "\"}"), "address: must be host:port");
}

TEST(Topology, RefusesLinks) {
  expectRefused(linked(R"({"between": ["a","a"]})"), "links \"a\" with itself");
  expectRefused(linked(R"({"between": ["a"]})"), "must be two node names");
  expectRefused(linked(R"({"transport": "tcp"})"), "field \"between\" is missing");
  expectRefused(linked(R"({"between": ["a","b"], "transport": "udp"})"), "must be shm, rdma or tcp, got \"udp\"");
  expectRefused(linked(R"({"between": ["a","b"]}, {"between": ["b","a"]})"), "links[1]: a second tcp link");
  expectRefused(linked(R"({"between": ["a","b"], "bandwidth_gbit_per_s": -3})"), "bandwidth_gbit_per_s: must be above 0");
}

TEST(Topology, RefusesCollectivesThatFitNoGroup) {
  const auto with = [](const std::string& collectives) { return "{\"nodes\": [" + kA + ", " + kB + "], \"collectives\": [" + collectives + "]}"; };
  const std::string good = R"({"operation": "all_reduce", "group": ["a", "b"], "one_shot_bytes": 0})";
  EXPECT_EQ(refusal(with(good)), "(accepted)");
  expectRefused(with("7"), "collectives[0]: must be an object, got 7");
  expectRefused(with(R"({"operation": "broadcast"})"), "operation: must be all_reduce, got \"broadcast\"");
  expectRefused(with(R"({"operation": "all_reduce", "group": ["a", "b"]})"), "field \"steps\" is missing");
  expectRefused(with(R"({"operation": "all_reduce", "one_shot_bytes": 1})"), "field \"group\" is missing");
  expectRefused(with(R"({"operation": "all_reduce", "group": "a", "one_shot_bytes": 1})"), "must be an array of node names, got the string \"a\"");
  expectRefused(with(R"({"operation": "all_reduce", "group": ["a", 3], "one_shot_bytes": 1})"), "got 3 in it");
  expectRefused(with(R"({"operation": "all_reduce", "group": ["a", "c"], "one_shot_bytes": 1})"), "there is no node \"c\"");
  expectRefused(with(R"({"operation": "all_reduce", "group": ["a", "a"], "one_shot_bytes": 1})"), "names \"a\" twice");
  expectRefused(with(R"({"operation": "all_reduce", "group": ["a"], "one_shot_bytes": 1})"), "two nodes or more, got 1");
  expectRefused(with(R"({"operation": "all_reduce", "group": ["a", "b"], "one_shot_bytes": -1})"), "whole number of bytes, got -1");
  expectRefused(with(R"({"operation": "all_reduce", "group": ["a", "b"], "one_shot_bytes": 9, "two_shot_bytes": 8})"), "must not be below one_shot_bytes, 9, got 8");
  const auto group = [&](const std::string& more) { return with(R"({"operation": "all_reduce", "group": ["a", "b"], )" + more + "}"); };
  EXPECT_EQ(refusal(group(R"("steps": [{"algorithm": "chain"}])")), "(accepted)");
  expectRefused(group(R"("steps": [])"), "the last of which has no \"up_to_bytes\"");
  expectRefused(group(R"("steps": [{"algorithm": "chain", "up_to_bytes": 5}])"), "the last of which has no \"up_to_bytes\"");
  expectRefused(group(R"("steps": [{"algorithm": "chain"}, {"algorithm": "one-shot"}])"), "steps[0]: only the last step");
  expectRefused(group(R"("steps": [{"algorithm": "chain", "up_to_bytes": 5}, {"algorithm": "chain", "up_to_bytes": 5}, {"algorithm": "one-shot"}])"), "above that of the step before, 5, got 5");
  expectRefused(group(R"("steps": [{"algorithm": "ring"}])"), "steps[0].algorithm: must be one-shot, two-shot, chain or hierarchical, got \"ring\"");
  expectRefused(group(R"("steps": [{"algorithm": "chain"}], "one_shot_bytes": 5)"), "say the same thing twice");
  expectRefused(group(R"("steps": [{"algorithm": "chain"}], "timings": [{"bytes": 8}, {"bytes": 8}])"), "timings[1].bytes: must be above");
  expectRefused(group(R"("steps": [{"algorithm": "chain"}], "timings": [{"bytes": 8, "ring": 3}])"), "timings[0]: unknown field \"ring\"");
  expectRefused(with(good + R"(, {"operation": "all_reduce", "group": ["b", "a"], "one_shot_bytes": 1})"), "collectives[1].group: these nodes stand");
}

TEST(Topology, ReadsThresholdsOfOldFiles) {
  const auto steps = [](const std::string& thresholds) {
    const auto topology = parseTopology("{\"nodes\": [" + kA + ", " + kB + R"(], "collectives": [{"operation": "all_reduce", "group": ["a", "b"], )" + thresholds + "}]}", "t");
    EXPECT_TRUE(topology.ok()) << topology.error();
    return topology->collectives[0].steps;
  };
  using enum ReduceAlgorithm;
  EXPECT_EQ(steps(R"("one_shot_bytes": 9)"), (std::vector<ReduceStep>{{kOneShot, 9}, {kTwoShot, std::nullopt}}));
  EXPECT_EQ(steps(R"("one_shot_bytes": 9, "two_shot_bytes": 12)"), (std::vector<ReduceStep>{{kOneShot, 9}, {kTwoShot, 12}, {kChain, std::nullopt}}));
  EXPECT_EQ(steps(R"("one_shot_bytes": 9, "two_shot_bytes": 9)"), (std::vector<ReduceStep>{{kOneShot, 9}, {kChain, std::nullopt}}));
}

TEST(Topology, RefusesCurvesThatAreNone) {
  const auto curve = [](const std::string& points) { return linked(R"({"between": ["a","b"], "curve": )" + points + "}"); };
  EXPECT_EQ(refusal(curve("[[64, 2.5]]")), "(accepted)");
  expectRefused(curve("7"), "curve: must be an array, got 7");
  expectRefused(curve("[7]"), "each point must be a whole number and a figure, as [64, 2.5], got \"7\"");
  expectRefused(curve("[[64, 1, 2]]"), "each point must be");
  expectRefused(curve("[[-64, 1]]"), "each point must be");
  expectRefused(curve("[[64, 1], [64, 2]]"), "points must ascend, got 64 after 64");
  expectRefused(curve("[[64, 0]]"), "a figure must lie above 0");
  expectRefused(curve("[[0, 1]]"), "a point must lie between 1 and");
  expectRefused(nodes(R"({"name": "a", "address": "h:1", "read_by_threads": [[2, 9], [1, 8]]})"), "points must ascend, got 1 after 2");
}

TEST(Topology, RefusesMoreThan1024Nodes) {
  std::string list;
  for (int i = 0; i <= 1024; ++i) list += (i ? ",{\"name\": \"n" : "{\"name\": \"n") + std::to_string(i) + "\", \"address\": \"h:0\"}";
  expectRefused(nodes(list), "at most 1024 nodes, got 1025");
}

TEST(Topology, WritesWhatItReads) {
  const auto topology = parseTopology(kTwo, "t.json");
  ASSERT_TRUE(topology.ok()) << topology.error();
  const std::string path = testing::TempDir() + "topology_test.json";
  ASSERT_TRUE(writeTopology(path, *topology).ok());
  const auto again = readTopology(path);
  ASSERT_TRUE(again.ok()) << again.error();
  EXPECT_EQ(*formatTopology(*again), *formatTopology(*topology));
  EXPECT_EQ(again->nodes[0].read_gb_per_s, 80.5);
  EXPECT_EQ(again->nodes[1].read_gb_per_s, 0) << "unknown stays unknown";
  ASSERT_EQ(again->collectives.size(), 1u);
  EXPECT_EQ(again->collectives[0].group, (std::vector<std::string>{"desk", "mini"}));
  EXPECT_EQ(again->collectives[0].steps, topology->collectives[0].steps);
  EXPECT_EQ(again->collectives[0].timings[0].us[0], 5);
  EXPECT_EQ(again->links[0].curve[1].us, 3.5);
  EXPECT_EQ(again->nodes[0].read_by_threads[0].gb_per_s, 21.5);
  for (const auto& entry : std::filesystem::directory_iterator(testing::TempDir()))
    EXPECT_EQ(entry.path().string().find("topology_test.json.new"), std::string::npos) << "left behind";
}

TEST(Topology, WritingRefusesWhatReadingWould) {
  Topology topology = loopbackTopology(2);
  topology.links = {{.from = "n0", .to = "n7"}};
  EXPECT_FALSE(formatTopology(topology).ok());
  topology = loopbackTopology(2);
  topology.nodes[0].read_gb_per_s = std::nan("");
  EXPECT_FALSE(formatTopology(topology).ok());
  topology = loopbackTopology(1);
  topology.nodes[0].name = "\xff\xfe";
  EXPECT_FALSE(formatTopology(topology).ok());
  EXPECT_EQ(writeTopology("/nonexistent-folder/t.json", loopbackTopology(1)).error().code(), ErrorCode::kIo);
}

TEST(Topology, FilesThatAreNone) {
  EXPECT_EQ(readTopology("/nonexistent/topo.json").error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(readTopology("/").error().code(), ErrorCode::kIo);
}

TEST(Topology, Loopback) {
  const Topology topology = loopbackTopology(3);
  ASSERT_EQ(topology.nodes.size(), 3u);
  EXPECT_EQ(topology.nodes[2].name, "n2");
  EXPECT_EQ(topology.nodes[2].address, "127.0.0.1:0");
  EXPECT_TRUE(parseTopology(*formatTopology(topology), "t").ok());
}

// Damaged files must give an error or a topology that can be written again, whatever is hit.
TEST(Topology, SurvivesDamage) {
  std::mt19937 random(1);
  int accepted = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string text = kTwo;
    for (int hits = 1 + static_cast<int>(random() % 3); hits > 0; --hits) text[random() % text.size()] = static_cast<char>(random() % 256);
    const auto result = parseTopology(text, "t.json");
    if (!result.ok()) continue;
    ++accepted;
    EXPECT_TRUE(formatTopology(*result).ok()) << text;
  }
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, 3000);
}

}  // namespace
}  // namespace exo
