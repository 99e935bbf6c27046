// Weights from a peer over every transport: the same bits, the same errors.
#include "executor/weight_exchange.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/executor/transport/links.h"

namespace exo {
namespace {

using namespace std::chrono_literals;
using transport::onThreads;
using transport::Wire;
using transport::World;

constexpr auto kTimeout = 20'000ms;

/// "a" [700, 1000] and the vector "v" [50], of which "a" is stored with scales.
class MadeUp final : public TensorSource {
 public:
  bool contains(const std::string& name) const override { return name == "a" || name == "v"; }
  Result<TensorInfo> find(const TensorRef& tensor) const override {
    if (!contains(tensor.name)) return makeError(ErrorCode::kNotFound, "there is no tensor \"", tensor.name, "\"");
    const std::vector<int64_t> shape = tensor.name == "a" ? std::vector<int64_t>{700, 1000} : std::vector<int64_t>{50};
    if (tensor.shape != shape) return makeError(ErrorCode::kMismatch, "another shape");
    return TensorInfo{"Q8_0", shape};
  }
  Status readRows(const TensorRef& tensor, const TensorSlice& slice, std::span<float> out) const override {
    const auto info = find(tensor);
    if (!info.ok()) return info.error();
    size_t at = 0;
    for (int64_t row = slice.row_begin; row < slice.row_end; ++row)
      for (int64_t column = slice.column_begin; column < slice.column_end; ++column) out[at++] = static_cast<float>(row * 1000 + column) / 7;
    return {};
  }
  std::string identity() const override { return "made up"; }
  bool readScales(const std::string& name, int64_t row, int64_t column, std::span<uint16_t> out) const override {
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<uint16_t>(row * 40 + column / 32 + static_cast<int64_t>(i));
    return name == "a";
  }
};

class PeerWeights : public testing::TestWithParam<Wire> {
 protected:
  void SetUp() override { EXO_SKIP_WITHOUT(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Wires, PeerWeights, testing::Values(Wire::kShm, Wire::kTcp, Wire::kVerbs, Wire::kSimulated),
                         [](const auto& param) { return transport::wireName(param.param); });

void expectSame(const TensorSource& got, const TensorRef& tensor, const TensorSlice& slice) {
  const MadeUp original;
  std::vector<float> rows(static_cast<size_t>(slice.rows() * slice.columns())), want = rows;
  ASSERT_TRUE(original.readRows(tensor, slice, want).ok());
  const Status status = got.readRows(tensor, slice, rows);
  ASSERT_TRUE(status.ok()) << status.error();
  ASSERT_EQ(rows, want);
}

TEST_P(PeerWeights, AreThoseOfTheGiver) {
  World world(3, GetParam(), {4096, 4});
  const MadeUp original;
  std::atomic<bool> cancel = false;
  onThreads(3, [&](int rank) {
    const auto exchange = WeightExchange::agree(*world.meshes[rank], rank == 1 ? &original : nullptr, kTimeout);
    ASSERT_TRUE(exchange.ok()) << exchange.error();
    EXPECT_EQ(exchange->giver(), rank == 1 ? -1 : 1);
    if (rank == 1) {
      EXPECT_EQ(exchange->takers(), (std::vector{0, 2}));
      const Status given = exchange->give(cancel);
      EXPECT_TRUE(given.ok()) << given.error();
      return;
    }
    auto taken = exchange->take();
    ASSERT_TRUE(taken.ok()) << taken.error();
    const TensorSource& weights = **taken;
    EXPECT_EQ(weights.identity(), "made up");
    EXPECT_TRUE(weights.contains("v"));
    EXPECT_FALSE(weights.contains("w"));
    const TensorRef a{"a", {700, 1000}}, v{"v", {50}};
    EXPECT_EQ(weights.find(a)->format, "Q8_0");
    EXPECT_EQ(weights.find(v)->shape, (std::vector<int64_t>{50}));
    EXPECT_EQ(weights.find({"v", {51}}).error().code(), ErrorCode::kMismatch);
    expectSame(weights, v, {0, 1, 3, 47});
    // As a packer does it: rows one by one, several threads at a time, each row's scales behind it.
    onThreads(3, [&](int thread) {
      for (int64_t row = thread * 233; row < (thread + 1) * 233; ++row) {
        expectSame(weights, a, {row, row + 1, 320, 1000});
        std::vector<uint16_t> scales(22), want(22);
        ASSERT_EQ(weights.readScales("a", row, 320, scales), original.readScales("a", row, 320, want));
        ASSERT_EQ(scales, want);
      }
    });
    expectSame(weights, a, {100, 300, 5, 900});
    std::vector<uint16_t> scales(2);
    EXPECT_FALSE(weights.readScales("v", 0, 0, scales));
    std::vector<float> row(4);
    const Status missing = weights.readRows({"w", {9, 4}}, {0, 1, 0, 4}, row);
    ASSERT_FALSE(missing.ok());
    EXPECT_EQ(missing.error().code(), ErrorCode::kNotFound);
    EXPECT_NE(missing.error().message().find("there is no tensor \"w\" (says rank 1, which has the weights)"), std::string::npos) << missing.error();
  });
}

TEST(WeightExchange, WhereAllHaveWeightsNothingIsExchanged) {
  World world(2, Wire::kSimulated);
  const MadeUp original;
  onThreads(2, [&](int rank) {
    const auto exchange = WeightExchange::agree(*world.meshes[rank], &original, kTimeout);
    ASSERT_TRUE(exchange.ok()) << exchange.error();
    EXPECT_EQ(exchange->giver(), -1);
    EXPECT_TRUE(exchange->takers().empty());
  });
}

TEST(WeightExchange, WhereNobodyHasAnyAllAreTold) {
  World world(2, Wire::kSimulated);
  onThreads(2, [&](int rank) {
    const auto exchange = WeightExchange::agree(*world.meshes[rank], nullptr, kTimeout);
    ASSERT_FALSE(exchange.ok());
    EXPECT_EQ(exchange.error().code(), ErrorCode::kNotFound);
  });
}

TEST(WeightExchange, ADeadGiverOrTakerEndsIt) {
  const MadeUp original;
  for (const int dead : {0, 1}) {
    World world(2, Wire::kSimulated);
    std::atomic<bool> cancel = false;
    onThreads(2, [&](int rank) {
      const auto exchange = WeightExchange::agree(*world.meshes[rank], rank == 0 ? &original : nullptr, kTimeout);
      ASSERT_TRUE(exchange.ok()) << exchange.error();
      if (rank == dead) {
        world.network->kill(rank);
        return;
      }
      if (rank == 0) {
        const Status given = exchange->give(cancel);
        EXPECT_EQ(given.error().code(), ErrorCode::kPeerLost);
        return;
      }
      auto taken = exchange->take();
      ASSERT_TRUE(taken.ok()) << taken.error();
      std::vector<float> row(50);
      EXPECT_EQ((*taken)->readRows({"v", {50}}, {0, 1, 0, 50}, row).error().code(), ErrorCode::kPeerLost);
    });
  }
}

TEST(WeightExchange, GivingIsCancelled) {
  World world(2, Wire::kSimulated);
  const MadeUp original;
  std::atomic<bool> cancel = false;
  onThreads(2, [&](int rank) {
    const auto exchange = WeightExchange::agree(*world.meshes[rank], rank == 0 ? &original : nullptr, kTimeout);
    ASSERT_TRUE(exchange.ok()) << exchange.error();
    if (rank == 1) {
      std::this_thread::sleep_for(50ms);
      cancel = true;
    } else {
      EXPECT_EQ(exchange->give(cancel).error().code(), ErrorCode::kCancelled);
    }
  });
}

}  // namespace
}  // namespace exo
