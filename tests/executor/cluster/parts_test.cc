// Addresses, secrets, the stop signal, the request queue, membership without gRPC, and measurements.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "executor/cluster/address.h"
#include "executor/cluster/client.h"
#include "executor/cluster/link_probe.h"
#include "executor/cluster/measure.h"
#include "executor/cluster/membership.h"
#include "executor/cluster/generate_job.h"
#include "executor/cluster/run.h"
#include "executor/cluster/security.h"
#include "executor/cluster/tls_log.h"
#include "executor/cluster/wire.h"
#include "ir/base/version.h"

namespace exo::cluster {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(AddressText, RoundTrips) {
  for (const char* text : {"127.0.0.1:0", "desk:52416", "[::1]:65535"}) {
    const auto address = parseAddress(text);
    ASSERT_TRUE(address.ok()) << address.error();
    EXPECT_EQ(address->text(), text);
  }
}

TEST(AddressText, NonsenseIsRefused) {
  for (const char* text : {"", "desk", ":1", "desk:", "desk:65536", "desk:-1", "desk:1x", "::1:5", "a b:1", "http://desk:1", "[::1:5"}) {
    const auto address = parseAddress(text);
    ASSERT_FALSE(address.ok()) << text;
    EXPECT_TRUE(contains(address.error().message(), "expected host:port")) << address.error();
  }
}

TEST(AddressText, LoopbackIsWhatStaysHere) {
  for (const char* here : {"127.0.0.1", "127.200.3.4", "::1"}) EXPECT_TRUE(isLoopback(here)) << here;
  for (const char* out : {"0.0.0.0", "::", "128.0.0.1", "10.0.0.1", "::2", "localhost", ""}) EXPECT_FALSE(isLoopback(out)) << out;
  const auto named = resolve({"localhost", 5});
  ASSERT_TRUE(named.ok()) << named.error();
  EXPECT_TRUE(isLoopback(named->host));
  EXPECT_FALSE(resolve({"no-such-host.invalid", 5}).ok());
}

class SecretFile : public testing::Test {
 protected:
  SecretFile() : path_(std::filesystem::temp_directory_path() / ("exo_secret_" + std::to_string(::getpid()))) {}
  ~SecretFile() override { std::filesystem::remove(path_); }
  void write(const std::string& bytes, mode_t mode) {
    std::ofstream(path_, std::ios::binary) << bytes;
    ::chmod(path_.c_str(), mode);
  }
  std::string problem() const {
    const auto security = Security::fromSecretFile(path_);
    return security.ok() ? "" : security.error().message();
  }
  std::filesystem::path path_;
};

TEST_F(SecretFile, SixteenBytesOfTheOwnerAreEnough) {
  write("0123456789abcdef\n", 0600);
  EXPECT_EQ(problem(), "");
  write("0123456789abcde\n", 0600);  // the line end does not count
  EXPECT_TRUE(contains(problem(), "16 to 4096 bytes, got 15")) << problem();
  write(std::string(5000, 'x'), 0600);
  EXPECT_TRUE(contains(problem(), "got more")) << problem();
}

TEST_F(SecretFile, OthersMustNotReadIt) {
  for (const mode_t mode : {0640, 0604, 0620}) {
    write("0123456789abcdef", mode);
    EXPECT_TRUE(contains(problem(), "chmod 600")) << problem();
  }
}

TEST_F(SecretFile, IsAFile) {
  EXPECT_TRUE(contains(problem(), "cannot open secret file")) << problem();
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  EXPECT_TRUE(contains(problem(), "is not a file")) << problem();
}

TEST(Tls, KeysDifferTheAuthorityDoesNot) {
  const auto one = makeTlsIdentity("0123456789abcdef"), two = makeTlsIdentity("0123456789abcdef");
  ASSERT_TRUE(one.ok()) << one.error();
  ASSERT_TRUE(two.ok()) << two.error();
  EXPECT_NE(one->private_key, two->private_key);
  EXPECT_TRUE(contains(one->certificate, "BEGIN CERTIFICATE"));
}

TEST(Tls, MessagesInWordsOfTheUser) {
  EXPECT_TRUE(contains(explainTls("Ssl handshake failed: SSL_ERROR_SSL: error:0A000086:SSL routines::certificate verify failed"), "another"));
  EXPECT_TRUE(contains(explainTls("error:0A00010B:SSL routines::wrong version number"), "no cluster secret"));
  EXPECT_EQ(explainTls("Connection refused"), "");
}

TEST(Stop, TheFirstCauseWinsAndIsToldOnce) {
  StopSignal stop;
  int calls = 0;
  const auto subscription = stop.onStop([&] { ++calls; });
  stop.fail(makeError(ErrorCode::kPeerLost, "lost b"));
  stop.stop("interrupted");
  EXPECT_EQ(calls, 1);
  ASSERT_TRUE(stop.error().has_value());
  EXPECT_EQ(stop.error()->message(), "lost b");
  const auto late = stop.onStop([&] { ++calls; });
  EXPECT_EQ(calls, 2);
}

TEST(Errors, TravelWhole) {
  const Error error = makeError(ErrorCode::kDoesNotFit, ErrorScope::kRank, "too big");
  const Error back = fromGrpc(toGrpc(error), "it");
  EXPECT_EQ(back.code(), error.code());
  EXPECT_EQ(back.scope(), error.scope());
  EXPECT_EQ(back.message(), error.message());
  // What another version may send: an unknown code, control characters, any length.
  wire::Failure foreign;
  foreign.set_code("new code");
  foreign.set_message("\x1b[31m" + std::string(100'000, 'x'));
  const Error read = fromWire(foreign);
  EXPECT_EQ(read.code(), ErrorCode::kIo);
  EXPECT_LT(read.message().size(), 4000u);
  EXPECT_EQ(read.message()[0], '?');
}

TEST(Job, WhatCameBeforeTheEndIsDeliveredThenTheEnd) {
  GenerateJob job({.prompt = {1}, .max_tokens = 1, .eos_ids = {}});
  EXPECT_TRUE(job.token(7).ok());
  job.finish(makeError(ErrorCode::kCancelled, "over"));
  EXPECT_FALSE(job.token(8).ok());
  EXPECT_EQ(job.next(0ms)->token(), 7);
  const auto event = job.next(0ms);
  ASSERT_TRUE(event && event->has_error());
  EXPECT_EQ(event->error().message(), "over");
  EXPECT_FALSE(job.next(0ms));
}

TEST(Job, AClientThatReadsNothingIsGivenUpAndHoldsNobodyUp) {
  GenerateJob job({.prompt = {1}, .max_tokens = 1, .eos_ids = {}});
  const std::vector<float> row(size_t{1} << 18);
  for (int i = 0; i < 63; ++i) ASSERT_TRUE(job.logits(i, 0, 1 << 18, row).ok());   // just below 64 MiB
  const auto start = std::chrono::steady_clock::now();
  Status status;
  for (int i = 0; i < 100'000 && status.ok(); ++i) status = job.token(i);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code(), ErrorCode::kTimeout);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
  EXPECT_TRUE(job.cancelled());
}

class RecordingLink : public MemberLink {
 public:
  void send(const wire::ToMember& message) override { messages.push_back(message); }
  std::vector<wire::ToMember> messages;
};

Roster twoNodes() {
  return {.plan_hash = "plan", .weights = "checkpoint", .nodes = {{"a", "p0"}, {"b", "p1"}}};
}

wire::Hello helloOfB() {
  wire::Hello hello;
  hello.set_version(kVersion);
  hello.set_node("b");
  hello.set_rank(1);
  hello.set_plan_hash("plan");
  hello.set_program_hash("p1");
  hello.set_weights("checkpoint");
  hello.set_data_endpoint("127.0.0.1:1/boot/unix");
  return hello;
}

TEST(MembershipSteps, APlaceLeftBeforeTheEpochIsFreeAgain) {
  const Roster roster = twoNodes();
  StopSignal stop;
  Membership membership(roster, stop);
  const auto link = std::make_shared<RecordingLink>();
  ASSERT_TRUE(membership.enter(helloOfB(), "127.0.0.1", link).ok());
  EXPECT_FALSE(membership.enter(helloOfB(), "127.0.0.1", link).ok());
  membership.left(1, "it went");
  EXPECT_FALSE(stop.requested());
  ASSERT_TRUE(membership.enter(helloOfB(), "127.0.0.1", link).ok());
  ASSERT_TRUE(membership.gather("127.0.0.1:2/boot/unix", 0ms).ok());
  ASSERT_EQ(link->messages.size(), 1u);
  EXPECT_EQ(link->messages[0].welcome().session_key().size(), 32u);
  EXPECT_EQ(link->messages[0].welcome().members_size(), 2);
  membership.left(1, "it went");
  ASSERT_TRUE(stop.error().has_value());
  EXPECT_TRUE(contains(stop.error()->message(), "lost node \"b\" (rank 1) while loading: it went")) << *stop.error();
}

TEST(MembershipSteps, AnotherVersionIsRefusedWithBoth) {
  const Roster roster = twoNodes();
  StopSignal stop;
  Membership membership(roster, stop);
  wire::Hello hello = helloOfB();
  hello.set_version("9.9.9");
  const Status status = membership.enter(hello, "127.0.0.1", std::make_shared<RecordingLink>());
  ASSERT_FALSE(status.ok());
  EXPECT_TRUE(contains(status.error().message(), "9.9.9")) << status.error();
  EXPECT_TRUE(contains(status.error().message(), kVersion)) << status.error();
}

TEST(MembershipSteps, NonsenseIsRefused) {
  const Roster roster = twoNodes();
  StopSignal stop;
  Membership membership(roster, stop);
  for (const uint32_t rank : {0u, 2u, 4'000'000'000u}) {
    wire::Hello hello = helloOfB();
    hello.set_rank(rank);
    EXPECT_FALSE(membership.enter(hello, "127.0.0.1", std::make_shared<RecordingLink>()).ok()) << rank;
  }
  wire::Hello hello = helloOfB();
  hello.set_data_endpoint("nowhere");
  EXPECT_FALSE(membership.enter(hello, "127.0.0.1", std::make_shared<RecordingLink>()).ok());
}

TEST(MembershipSteps, LoadingWithoutProgressEnds) {
  const Roster roster = twoNodes();
  StopSignal stop;
  Membership membership(roster, stop);
  ASSERT_TRUE(membership.enter(helloOfB(), "127.0.0.1", std::make_shared<RecordingLink>()).ok());
  ASSERT_TRUE(membership.gather("127.0.0.1:2/boot/unix", 0ms).ok());
  const Status stuck = membership.awaitReady(100ms);
  ASSERT_FALSE(stuck.ok());
  EXPECT_TRUE(contains(stuck.error().message(), "waiting for: b")) << stuck.error();
  wire::FromMember ready;
  ready.mutable_ready();
  membership.received(1, ready);
  EXPECT_TRUE(membership.awaitReady(100ms).ok());
}

TEST(MembershipSteps, TellsHowFarEveryNodeIs) {
  const Roster roster = twoNodes();
  StopSignal stop;
  Membership membership(roster, stop);
  using Done = std::optional<std::pair<uint64_t, uint64_t>>;
  const auto states = [&] { return std::pair(membership.statuses()[0].state, membership.statuses()[1].state); };
  EXPECT_EQ(states(), std::pair(NodeState::kJoining, NodeState::kJoining));
  ASSERT_TRUE(membership.enter(helloOfB(), "127.0.0.1", std::make_shared<RecordingLink>()).ok());
  ASSERT_TRUE(membership.gather("127.0.0.1:2/boot/unix", 0ms).ok());
  EXPECT_EQ(states(), std::pair(NodeState::kLoading, NodeState::kLoading));
  membership.loading(1, 9);
  wire::FromMember message;
  message.mutable_loading()->set_done_bytes(3);
  message.mutable_loading()->set_total_bytes(8);
  membership.received(1, message);
  EXPECT_EQ(membership.statuses()[0].loading, Done({1, 9}));
  EXPECT_EQ(membership.statuses()[1].loading, Done({3, 8}));
  EXPECT_FALSE(membership.statuses()[1].report);
  message.mutable_report()->set_resident_bytes(77);
  membership.received(1, message);
  EXPECT_EQ(membership.statuses()[1].report->resident_bytes, 77u);
  membership.go();
  EXPECT_EQ(states(), std::pair(NodeState::kServing, NodeState::kServing));
  EXPECT_FALSE(membership.statuses()[1].loading);
  membership.left(1, "it went");
  EXPECT_EQ(states(), std::pair(NodeState::kStopping, NodeState::kLost));
}

TEST(MembershipSteps, ReportsAreNoProgress) {
  const Roster roster = twoNodes();
  StopSignal stop;
  Membership membership(roster, stop);
  ASSERT_TRUE(membership.enter(helloOfB(), "127.0.0.1", std::make_shared<RecordingLink>()).ok());
  ASSERT_TRUE(membership.gather("127.0.0.1:2/boot/unix", 0ms).ok());
  std::atomic<bool> over = false;
  std::thread reports([&] {
    wire::FromMember message;
    message.mutable_report();
    while (!over) membership.received(1, message);
  });
  EXPECT_FALSE(membership.awaitReady(100ms).ok());
  over = true;
  reports.join();
}

TEST(Reports, TravelWholeAndAreNotBelievedBlindly) {
  NodeReport report{.resident_bytes = 7};
  report.engine = {EngineReport::Memory{1, 2, 3, 4}, {{.to = 2, .transport = "tcp", .why = "no verbs", .sent_bytes = 99}}};
  report.machine = {.processor = "caf\xe9", .processors = 4, .processor_share = 0.5, .memory_bytes = 10, .available_bytes = 5, .temperature_c = 61.5};
  const NodeReport got = fromWire(toWire(report));
  EXPECT_EQ(got.resident_bytes, 7u);
  EXPECT_EQ(got.engine.memory->kv, 2u);
  EXPECT_EQ(got.engine.memory->scratch, 4u);
  ASSERT_EQ(got.engine.links.size(), 1u);
  EXPECT_EQ(got.engine.links[0].why, "no verbs");
  EXPECT_EQ(got.engine.links[0].sent_bytes, 99u);
  EXPECT_EQ(got.machine.processor, "caf\xe9");
  EXPECT_EQ(got.machine.processor_share, 0.5);
  EXPECT_EQ(got.machine.temperature_c, 61.5);
  EXPECT_EQ(got.machine.power_w, std::nullopt);
  EXPECT_FALSE(fromWire(wire::Report()).engine.memory);

  wire::Report wild;
  wild.mutable_machine()->set_processor_share(std::nan(""));
  wild.mutable_machine()->set_power_w(-1);
  wild.mutable_machine()->set_temperature_c(INFINITY);
  wild.mutable_machine()->set_processors(-3);
  wild.mutable_machine()->set_processor(std::string(100'000, 'x') + "\n");
  for (int i = 0; i < 10'000; ++i) wild.add_links();
  const NodeReport tame = fromWire(wild);
  EXPECT_EQ(tame.machine.processor_share, std::nullopt);
  EXPECT_EQ(tame.machine.power_w, std::nullopt);
  EXPECT_EQ(tame.machine.temperature_c, std::nullopt);
  EXPECT_EQ(tame.machine.processors, 0);
  EXPECT_LT(tame.machine.processor.size(), 4000u);
  EXPECT_LE(tame.engine.links.size(), 4096u);
}

TEST(Measure, IsQuickAndPlausible) {
  const auto start = Clock::now();
  const auto measurement = measureNode();
  const auto took = Clock::now() - start;
  ASSERT_TRUE(measurement.ok()) << measurement.error();
  std::cout << describe(*measurement);
  EXPECT_LT(took, 10s);  // about 1.5 s on a machine that has nothing else to do
  ASSERT_FALSE(measurement->read.empty());
  EXPECT_EQ(measurement->read.back().threads, measurement->threads);
  for (const ReadRate& each : measurement->read) {
    EXPECT_GT(each.rate.median, 0.1);
    EXPECT_LT(each.rate.median, 10'000);
  }
  EXPECT_GT(measurement->f32_gflop_per_s.median, 0.1);
  EXPECT_GT(measurement->int8_gop_per_s.median, measurement->f32_gflop_per_s.median / 4);
  EXPECT_GT(measurement->memory_bytes, uint64_t{64} << 20);
  EXPECT_LE(measurement->available_bytes, measurement->memory_bytes);
  EXPECT_GE(measurement->cores, 1);
}

TEST(Measure, MessagesKeepEveryFigure) {
  Measurement measurement{.read = {{1, {10, 0.1}}, {4, {35, 0.2}}},
                          .int8_gop_per_s = {900, 0.01},
                          .int8_method = "avx2",
                          .f32_gflop_per_s = {300, 0.02},
                          .memory_bytes = 7,
                          .available_bytes = 5,
                          .cores = 4,
                          .threads = 3,
                          .cpu = "fast"};
  EXPECT_EQ(describe(fromWire(toWire(measurement))), describe(measurement));
}

/// A node that is only measured, in a thread.
class MeasuredNode {
 public:
  explicit MeasuredNode(const std::string& name) {
    std::promise<Address> listening;
    auto address = listening.get_future();
    thread_ = std::thread([this, name, &listening] {
      MeasureOptions options{.node = name, .listen = {"127.0.0.1", 0}};
      options.events.listening = [&](const Address& at) { listening.set_value(at); };
      EXPECT_TRUE(runMeasureOnly(options, Security::loopbackOnly(), stop_).ok());
    });
    address_ = address.get();
  }
  ~MeasuredNode() {
    stop_.stop("over");
    thread_.join();
  }
  const Address& address() const { return address_; }

 private:
  StopSignal stop_;
  Address address_;
  std::thread thread_;
};

TEST(MeasureLink, BetweenTwoNodesOfOneMachine) {
  const MeasuredNode a("a"), b("b");
  const auto client = ControlClient::connect(a.address(), Security::loopbackOnly());
  ASSERT_TRUE(client.ok()) << client.error();
  for (const auto& [asked, used] : {std::pair{"auto", "shm"}, std::pair{"shm", "shm"}, std::pair{"tcp", "tcp"}}) {
    const auto link = (*client)->measureLink(b.address().text(), asked);
    ASSERT_TRUE(link.ok()) << link.error();
    EXPECT_EQ(link->transport, used);
    EXPECT_GT(link->latency_us.median, 0.01);
    EXPECT_LT(link->latency_us.median, 100'000);
    EXPECT_GT(link->bandwidth_gbit_per_s.median, 0.05);
    EXPECT_GT(link->barrier_us.median, 0.01);
    ASSERT_EQ(link->curve.size(), 9u);
    EXPECT_EQ(link->curve.front().bytes, 64u);
    EXPECT_EQ(link->curve.back().bytes, 4u << 20);
    EXPECT_EQ(link->curve.front().us.median, link->latency_us.median);
    EXPECT_GT(link->curve.back().us.median, 10 * link->curve.front().us.median) << "4 MiB against 64 B";
    std::cout << used << ": " << link->latency_us.median << " us, " << link->bandwidth_gbit_per_s.median << " Gbit/s, barrier " << link->barrier_us.median << " us\n";
  }
  const auto verbs = (*client)->measureLink(b.address().text(), "verbs");
  if (verbs.ok()) {
    EXPECT_EQ(verbs->transport, "verbs");
  } else {  // few machines have a device
    EXPECT_TRUE(contains(verbs.error().message(), "transport verbs is demanded, but not possible: ")) << verbs.error();
  }
  const auto wrong = (*client)->measureLink(b.address().text(), "pigeon");
  ASSERT_FALSE(wrong.ok());
  EXPECT_TRUE(contains(wrong.error().message(), "pigeon")) << wrong.error();
  const auto nobody = (*client)->measureLink("127.0.0.1:1", "tcp");
  ASSERT_FALSE(nobody.ok());
  EXPECT_TRUE(contains(nobody.error().message(), "127.0.0.1:1")) << nobody.error();
}

TEST(MeasureGroup, AllLearnTheSameSteps) {
  constexpr uint32_t kWorld = 3;
  std::vector<std::unique_ptr<MeasuredNode>> nodes;
  std::vector<std::unique_ptr<ControlClient>> clients;
  const ProbeTicket ticket = makeProbeTicket("auto").value();
  Session session{.epoch = ticket.epoch};
  for (uint32_t rank = 0; rank < kWorld; ++rank) {
    nodes.push_back(std::make_unique<MeasuredNode>("n" + std::to_string(rank)));
    clients.push_back(ControlClient::connect(nodes.back()->address(), Security::loopbackOnly()).value());
    const auto endpoint = clients.back()->openGroup({ticket, rank, kWorld});
    ASSERT_TRUE(endpoint.ok()) << endpoint.error();
    session.members.push_back({"n" + std::to_string(rank), rank, *endpoint});
  }
  std::vector<std::future<Result<collectives::Calibration>>> running;
  for (auto& client : clients) running.push_back(std::async(std::launch::async, [&] { return client->measureGroup(session); }));
  std::vector<collectives::Calibration> all;
  for (auto& each : running) {
    auto measured = each.get();
    ASSERT_TRUE(measured.ok()) << measured.error();
    all.push_back(std::move(*measured));
  }
  for (const collectives::Calibration& each : all) EXPECT_EQ(each.thresholds, all[0].thresholds);
  ASSERT_FALSE(all[0].timings.empty());
  EXPECT_EQ(all[0].timings[0].bytes, 4096u);
  EXPECT_GT(all[0].timings[0].us[0], 0);
  EXPECT_GT(all[0].barrier_us, 0);
  // What was opened is used up; and nobody meets without having opened.
  const auto again = clients[0]->measureGroup(session);
  ASSERT_FALSE(again.ok());
  EXPECT_EQ(again.error().code(), ErrorCode::kNotFound);
  const auto alone = clients[0]->openGroup({ticket, 0, 1});
  ASSERT_FALSE(alone.ok());
  EXPECT_TRUE(contains(alone.error().message(), "a group of 2 to 64 nodes can be measured, got rank 0 of 1")) << alone.error();
}

TEST(MeasureGroup, ANodeThatDoesNotComeIsNamed) {
  const MeasuredNode here("here");
  const auto client = ControlClient::connect(here.address(), Security::loopbackOnly()).value();
  const ProbeTicket ticket = makeProbeTicket("tcp").value();
  const auto endpoint = client->openGroup({ticket, 0, 2});
  ASSERT_TRUE(endpoint.ok()) << endpoint.error();
  const auto begin = Clock::now();
  const auto measured = client->measureGroup({.epoch = ticket.epoch, .key = {}, .members = {{"here", 0, *endpoint}, {"there", 1, *endpoint}}});
  ASSERT_FALSE(measured.ok());
  EXPECT_LT(Clock::now() - begin, 20s);
  EXPECT_TRUE(contains(measured.error().message(), "still no link to rank 1 (there at ")) << measured.error();
}

}  // namespace
}  // namespace exo::cluster
