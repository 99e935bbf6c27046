// Ranks as real processes: on one processor, and with one of them killed in the middle of an operation.
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "executor/collectives/collectives.h"
#include "tests/executor/transport/links.h"

namespace exo::collectives {
namespace {

using namespace std::chrono_literals;
using transport::Choice;
using transport::Listeners;
using transport::Mesh;
using Clock = std::chrono::steady_clock;

/// Forks one process per rank, each with its connected mesh; `body` returns its exit status. Nothing outlives the test.
class Processes {
 public:
  Processes(int world, Choice choice, const std::function<int(Mesh&)>& body) {
    auto open = std::make_unique<Listeners>(world);
    for (int rank = 0; rank < world; ++rank) {
      const pid_t pid = fork();
      if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        std::_Exit(runRank(rank, choice, *open, body));
      }
      EXPECT_GT(pid, 0);
      pids_.push_back(pid);
    }
  }
  ~Processes() {
    for (pid_t pid : pids_)
      if (pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, nullptr, 0);
      }
  }

  pid_t pid(int rank) const { return pids_[rank]; }

  /// Exit status, or -signal, or -1000 when it did not end in time.
  int wait(int rank, std::chrono::milliseconds timeout) {
    const auto deadline = Clock::now() + timeout;
    int status = 0;
    while (waitpid(pids_[rank], &status, WNOHANG) == 0) {
      if (Clock::now() > deadline) return -1000;
      std::this_thread::sleep_for(1ms);
    }
    pids_[rank] = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  static int runRank(int rank, Choice choice, Listeners& open, const std::function<int(Mesh&)>& body) {
    transport::Listener mine = std::move(open.listeners[rank]);
    const auto endpoints = open.endpoints;
    open.listeners.clear();  // the others' copies: they would keep the ports open
    auto mesh = Mesh::connect(std::move(mine), transport::optionsFor(rank, endpoints, choice));
    if (!mesh.ok()) {
      std::cerr << mesh.error() << std::endl;
      return 100;
    }
    return body(**mesh);
  }
  std::vector<pid_t> pids_;
};

std::vector<int> everyone(const Mesh& mesh) {
  std::vector<int> group;
  for (int rank = 0; rank < mesh.world(); ++rank) group.push_back(rank);
  return group;
}

size_t filesIn(const char* folder) {
  const std::filesystem::directory_iterator entries(folder);
  return static_cast<size_t>(std::distance(begin(entries), end(entries)));
}

class RealProcesses : public testing::TestWithParam<Choice> {
 protected:
  void SetUp() override {
    if (GetParam() == Choice::kVerbs) EXO_SKIP_WITHOUT(transport::Wire::kVerbs);
  }
};
INSTANTIATE_TEST_SUITE_P(Wires, RealProcesses, testing::Values(Choice::kShm, Choice::kTcp, Choice::kVerbs), [](const auto& param) {
                           return std::string(param.param == Choice::kShm ? "shm" : param.param == Choice::kTcp ? "tcp" : "verbs");
                         });

TEST_P(RealProcesses, ProgressOnOneProcessor) {
  const auto begin = Clock::now();
  Processes ranks(4, GetParam(), [](Mesh& mesh) {
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    if (sched_setaffinity(0, sizeof(first), &first) != 0) return 101;
    auto group = Communicator::create(mesh, everyone(mesh), {});
    std::vector<float> sum(2048);
    for (int round = 0; round < 300; ++round) {
      std::fill(sum.begin(), sum.end(), static_cast<float>(mesh.rank() + round));
      if (Status status = (*group)->allReduce(sum, sum, "sum"); !status) {
        std::cerr << status.error() << std::endl;
        return 102;
      }
      if (sum[0] != 4.0f * round + 6 || sum[2047] != sum[0]) return 103;
    }
    return 0;
  });
  for (int rank = 0; rank < 4; ++rank) EXPECT_EQ(ranks.wait(rank, 60s), 0);
  std::cout << "300 all_reduces of 8 KiB, 4 ranks on one processor: "
            << std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin).count() << " ms" << std::endl;
}

TEST_P(RealProcesses, AKilledPeerIsNoticedWithinTwoSeconds) {
  const size_t files = filesIn("/dev/shm");
  Processes ranks(3, GetParam(), [](Mesh& mesh) {
    auto group = Communicator::create(mesh, everyone(mesh), {});
    std::vector<float> sum(100'000, 1.0f);
    while (true) {
      const Status status = (*group)->allReduce(sum, sum, "sum");
      if (status.ok()) continue;
      const bool named = status.error().message().find("rank 1 (node1)") != std::string::npos;
      // The other survivor may have given up first; then it is the one that is gone.
      const bool other = status.error().message().find("closed the link or died") != std::string::npos ||
                         status.error().message().find("is gone") != std::string::npos;
      if (status.error().code() != ErrorCode::kPeerLost || !(named || other)) {
        std::cerr << status.error() << std::endl;
        return 102;
      }
      return 0;
    }
  });
  std::this_thread::sleep_for(1500ms);  // all are connected long before
  const auto begin = Clock::now();
  ASSERT_GT(ranks.pid(1), 0);
  kill(ranks.pid(1), SIGKILL);
  EXPECT_EQ(ranks.wait(1, 2s), -SIGKILL);
  EXPECT_EQ(ranks.wait(0, 2s), 0);
  EXPECT_EQ(ranks.wait(2, 2s), 0);
  std::cout << "noticed after " << std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin).count() << " ms"
            << std::endl;
  EXPECT_EQ(filesIn("/dev/shm"), files);
}

TEST_P(RealProcesses, AnAwaitedPeerThatIsKilledIsNamed) {
  Processes ranks(2, GetParam(), [](Mesh& mesh) {
    auto group = Communicator::create(mesh, everyone(mesh), {});
    if (mesh.rank() == 1) {
      pause();  // never takes part
      return 101;
    }
    const Status status = (*group)->barrier("layers.7");
    if (status.ok()) return 102;
    const std::string& message = status.error().message();
    if (status.error().code() != ErrorCode::kPeerLost || status.error().scope() != ErrorScope::kLink ||
        message.find("barrier \"layers.7\" #1: rank 1 (node1)") == std::string::npos) {
      std::cerr << status.error() << std::endl;
      return 103;
    }
    return 0;
  });
  std::this_thread::sleep_for(1500ms);
  ASSERT_GT(ranks.pid(1), 0);
  kill(ranks.pid(1), SIGKILL);
  EXPECT_EQ(ranks.wait(0, 2s), 0);
}

TEST_P(RealProcesses, AnIdleRankSleeps) {
  Processes ranks(2, GetParam(), [](Mesh& mesh) {
    auto group = Communicator::create(mesh, everyone(mesh), {});
    const std::clock_t begin = std::clock();
    if (mesh.rank() == 1) std::this_thread::sleep_for(1s);
    if (!(*group)->barrier("idle").ok()) return 101;
    const double cpu_s = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    if (cpu_s < 0.3) return 0;
    std::cerr << "used " << cpu_s << " s of processor in a second of waiting" << std::endl;
    return 102;
  });
  EXPECT_EQ(ranks.wait(0, 20s), 0);
  EXPECT_EQ(ranks.wait(1, 20s), 0);
}

}  // namespace
}  // namespace exo::collectives
