#include "executor/cluster/node_reading.h"

#include <gtest/gtest.h>

#include <fstream>

namespace exo::cluster {
namespace {

namespace fs = std::filesystem;

/// A root directory of our own with the files a test puts there.
class NodeReadingTest : public testing::Test {
 protected:
  NodeReadingTest() : root_(fs::path(testing::TempDir()) / ("node_reading_" + std::to_string(::getpid()) + "_" + testing::UnitTest::GetInstance()->current_test_info()->name())) {}
  ~NodeReadingTest() override { fs::remove_all(root_); }
  void put(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  const fs::path root_;
};

TEST_F(NodeReadingTest, ReadsProcessorsAndMemory) {
  put("proc/cpuinfo", "processor\t: 0\nmodel\t\t: 17\nmodel name\t: Frobnicator 9000\n");
  put("proc/meminfo", "MemTotal:       1024 kB\nMemFree: 1 kB\nMemAvailable:    512 kB\n");
  put("proc/stat", "cpu  10 0 10 70 10 0 0 0 5 0\ncpu0 5 0 5 35 5 0 0 0 0 0\ncpu1 5 0 5 35 5 0 0 0 0 0\nintr 1\n");
  NodeReader reader(root_);
  const NodeReading first = reader.read(0);
  EXPECT_EQ(first.processor, "Frobnicator 9000");
  EXPECT_EQ(first.processors, 2);
  EXPECT_EQ(first.memory_bytes, 1024u * 1024);
  EXPECT_EQ(first.available_bytes, 512u * 1024);
  EXPECT_EQ(first.processor_share, std::nullopt);  // of what time?
  put("proc/stat", "cpu  40 0 10 100 50 0 0 0 5 0\n");  // 100 more: 30 busy, 70 idle or waiting for disks
  EXPECT_DOUBLE_EQ(*reader.read(1).processor_share, 0.3);
}

TEST_F(NodeReadingTest, TheHottestInputOfTheProcessorsSensorCounts) {
  put("sys/class/hwmon/hwmon0/name", "nvme\n");
  put("sys/class/hwmon/hwmon0/temp1_input", "90000\n");
  put("sys/class/hwmon/hwmon1/name", "k10temp\n");
  put("sys/class/hwmon/hwmon1/temp1_input", "41500\n");
  put("sys/class/hwmon/hwmon1/temp3_input", "47250\n");
  put("sys/class/hwmon/hwmon1/temp3_label", "Tccd1\n");
  EXPECT_DOUBLE_EQ(*NodeReader(root_).read(0).temperature_c, 47.25);
}

TEST_F(NodeReadingTest, PowerIsEnergyOverTimeOfAllPackages) {
  put("sys/class/powercap/intel-rapl:0/name", "package-0\n");
  put("sys/class/powercap/intel-rapl:1/name", "package-1\n");
  put("sys/class/powercap/intel-rapl:0:0/name", "core\n");
  const auto energy = [&](const std::string& first, const std::string& second) {
    put("sys/class/powercap/intel-rapl:0/energy_uj", first);
    put("sys/class/powercap/intel-rapl:1/energy_uj", second);
    put("sys/class/powercap/intel-rapl:0:0/energy_uj", "7");
  };
  NodeReader reader(root_);
  energy("1000000", "2000000");
  EXPECT_EQ(reader.read(10).power_w, std::nullopt);
  energy("41000000", "12000000");
  EXPECT_DOUBLE_EQ(*reader.read(12).power_w, 25);  // 50 J in 2 s
  energy("0", "0");                                // wrapped round
  EXPECT_EQ(reader.read(13).power_w, std::nullopt);
}

TEST_F(NodeReadingTest, NothingThereIsNotGuessed) {
  const NodeReading reading = NodeReader(root_).read(0);
  EXPECT_EQ(reading.temperature_c, std::nullopt);
  EXPECT_EQ(reading.memory_bytes, 0u);
  EXPECT_EQ(reading.power_w, std::nullopt);
}

TEST(NodeReaderTest, ReadsThisMachine) {
  const NodeReading reading = NodeReader().read(0);
  EXPECT_GE(reading.processors, 1);
  EXPECT_GT(reading.memory_bytes, reading.available_bytes);
}

}  // namespace
}  // namespace exo::cluster
