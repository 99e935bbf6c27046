// Links between two processes of this host, beside the least that the same wire needs without any protocol:
//   shm floor  memcpy into a shared page and a flag, polled        tcp floor  send() and recv() on one polled socket
//   verbs floor  one RDMA WRITE, its last word polled, as ib_write_lat does; where there is a device (tests/vm/guests.sh)
// Half a round trip (p50, p99) and streaming bandwidth per message size; then all_reduce of 8 KiB over two ranks.
// Usage: bench_transport [shm|tcp|verbs]...
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <iostream>
#include <vector>

#include "bench/machine.h"
#include "executor/collectives/collectives.h"
#include "executor/transport/mapping.h"
#include "executor/transport/socket.h"
#include "executor/transport/verbs/queue_pair.h"

namespace exo {
namespace {

using collectives::Communicator;
using transport::Mesh;
using Clock = std::chrono::steady_clock;

constexpr size_t kSizes[] = {64, 256, 1024, 4096, 8192, 16384, 65536, 262144, 1 << 20, 4 << 20};
constexpr size_t kMostBytes = 4 << 20;
constexpr int kWindow = 16;  // messages of a stream between two acknowledgements

int rounds(size_t bytes) { return static_cast<int>(std::clamp<size_t>((128 << 20) / bytes, 60, 5000)); }

/// What is measured: one message to the other side, or one from it. False ends the benchmark.
struct Wire {
  std::function<bool(size_t bytes)> send, receive;
};

struct Figures {
  double p50_us = 0, p99_us = 0, gb_per_s = 0;
};

double secondsSince(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

Figures percentiles(std::vector<double>& us) {
  std::sort(us.begin(), us.end());
  return {us[us.size() / 2], us[us.size() * 99 / 100], 0};
}

/// Ping-pong, then a one-way stream with an answer every kWindow messages. Both sides call it; side 0's figures count.
bool measure(const Wire& wire, int side, size_t bytes, Figures& out) {
  std::vector<double> us;
  for (int i = 0, n = rounds(bytes); i < n + n / 10; ++i) {
    const auto begin = Clock::now();
    const bool ok = side == 0 ? wire.send(bytes) && wire.receive(bytes) : wire.receive(bytes) && wire.send(bytes);
    if (!ok) return false;
    if (i >= n / 10) us.push_back(secondsSince(begin) * 1e6 / 2);
  }
  out = percentiles(us);
  const int windows = std::max(1, rounds(bytes) / kWindow);
  const auto begin = Clock::now();
  for (int w = 0; w < windows; ++w) {
    for (int i = 0; i < kWindow; ++i)
      if (!(side == 0 ? wire.send(bytes) : wire.receive(bytes))) return false;
    if (!(side == 0 ? wire.receive(64) : wire.send(64))) return false;
  }
  out.gb_per_s = static_cast<double>(bytes) * kWindow * windows / secondsSince(begin) / 1e9;
  return true;
}

/// On a core of its own, where there is one: two sides on one core measure the scheduler.
void pin(int side) {
  cpu_set_t allowed, mine;
  CPU_ZERO(&mine);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0 || CPU_COUNT(&allowed) < 2) return;
  for (int core = 0, index = 0; core < CPU_SETSIZE; ++core)
    if (CPU_ISSET(core, &allowed) && index++ == side) CPU_SET(core, &mine);
  sched_setaffinity(0, sizeof(mine), &mine);
}

/// Runs `body(side)` in this process and in a child.
bool inTwoProcesses(const std::function<bool(int side)>& body) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child < 0) {
    std::perror("fork");
    return false;
  }
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pin(1);
    std::_Exit(body(1) ? 0 : 1);
  }
  cpu_set_t before;
  sched_getaffinity(0, sizeof(before), &before);
  pin(0);
  const bool ok = body(0);
  sched_setaffinity(0, sizeof(before), &before);
  if (!ok) kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  return ok && status == 0;
}

// ---- Floors.

/// One message per direction in memory shared by fork: a sequence number, and the bytes a page later.
struct BareMemory {
  alignas(128) std::atomic<uint64_t> arrived{0};
  alignas(128) std::atomic<uint64_t> taken{0};
  alignas(4096) std::byte bytes[kMostBytes];
};

void relax(int spins) {
  // The two sides may share a processor.
  if (spins % 4096 == 4095) sched_yield();
}

bool floorOfSharedMemory(std::vector<Figures>& out) {
  const FileDescriptor fd = transport::createSharedMemory(2 * sizeof(BareMemory)).value();
  const transport::Mapping memory = transport::Mapping::shared(fd, 2 * sizeof(BareMemory)).value();
  auto* ways = reinterpret_cast<BareMemory*>(memory.data());
  return inTwoProcesses([&](int side) {
    BareMemory &to = ways[side], &from = ways[1 - side];
    std::vector<std::byte> local(kMostBytes);
    uint64_t sent = 0, received = 0;
    Wire wire;
    wire.send = [&](size_t bytes) {
      for (int spins = 0; to.taken.load(std::memory_order_acquire) != sent; ++spins) relax(spins);
      std::memcpy(to.bytes, local.data(), bytes);
      to.arrived.store(++sent, std::memory_order_release);
      return true;
    };
    wire.receive = [&](size_t bytes) {
      for (int spins = 0; from.arrived.load(std::memory_order_acquire) != received + 1; ++spins) relax(spins);
      std::memcpy(local.data(), from.bytes, bytes);
      from.taken.store(++received, std::memory_order_release);
      return true;
    };
    for (size_t i = 0; i < std::size(kSizes); ++i)
      if (!measure(wire, side, kSizes[i], out[i])) return false;
    return true;
  });
}

/// All of `bytes` through a non-blocking socket.
template <class Call>
bool transferAll(size_t bytes, Call&& call) {
  int spins = 0;
  for (size_t done = 0; done < bytes;) {
    const ssize_t moved = call(done, bytes - done);
    if (moved > 0) done += static_cast<size_t>(moved);
    if (moved == 0 || (moved < 0 && errno != EAGAIN && errno != EINTR)) return false;
    if (moved < 0) relax(++spins);
  }
  return true;
}

bool floorOfTcp(std::vector<Figures>& out) {
  const auto address = transport::tcpAddress("127.0.0.1", 0).value();
  const FileDescriptor listener = transport::listenOn(address, "loopback").value();
  const uint16_t port = transport::boundPort(listener).value();
  return inTwoProcesses([&](int side) {
    FileDescriptor socket;
    if (side == 0) {
      for (int spins = 0; !socket; relax(++spins)) socket = FileDescriptor(accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK));
    } else {
      socket = std::move(transport::startDial(transport::tcpAddress("127.0.0.1", port).value()).socket);
    }
    transport::tuneTcp(socket);
    std::vector<std::byte> local(kMostBytes);
    Wire wire;
    wire.send = [&](size_t bytes) {
      return transferAll(bytes, [&](size_t at, size_t size) { return ::send(socket.get(), local.data() + at, size, MSG_NOSIGNAL); });
    };
    wire.receive = [&](size_t bytes) {
      return transferAll(bytes, [&](size_t at, size_t size) { return ::recv(socket.get(), local.data() + at, size, 0); });
    };
    for (size_t i = 0; i < std::size(kSizes); ++i)
      if (!measure(wire, side, kSizes[i], out[i])) return false;
    return true;
  });
}

/// Of either side, told to the other through memory shared by fork.
struct BareQueue {
  transport::verbs::QueueAddress queue;
  uint64_t address = 0;
  uint32_t key = 0;
  std::atomic<int> state{0};  // 1: filled in; 2: connected
};

bool floorOfVerbs(std::vector<Figures>& out) {
  using namespace transport::verbs;
  const FileDescriptor fd = transport::createSharedMemory(2 * sizeof(BareQueue)).value();
  const transport::Mapping shared = transport::Mapping::shared(fd, 2 * sizeof(BareQueue)).value();
  auto* ends = reinterpret_cast<BareQueue*>(shared.data());
  return inTwoProcesses([&](int side) {
    const Port port = openPorts({}).value().front();
    constexpr uint32_t kDepth = 64;
    // What is sent, then what is received: each with a word for the number of the message behind the bytes.
    constexpr size_t kHalf = kMostBytes + 4096;
    const transport::Mapping memory = transport::Mapping::anonymous(2 * kHalf).value();
    const MemoryRegion region = MemoryRegion::registered(port.device, {memory.data(), memory.size()}, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE).value();
    const auto queue = QueuePair::create(port, kDepth, 256).value();
    BareQueue &mine = ends[side], &peer = ends[1 - side];
    mine.queue = queue->address();
    mine.address = reinterpret_cast<uint64_t>(memory.data()) + kHalf;
    mine.key = region.remoteKey();
    const auto meet = [&](int state) {
      mine.state.store(state, std::memory_order_release);
      for (int spins = 0; peer.state.load(std::memory_order_acquire) < state; ++spins) relax(spins);
    };
    meet(1);
    if (!queue->connect(port.path, peer.queue).ok()) return false;
    meet(2);
    uint64_t sent = 0, received = 0;
    // One message at a time each way: the next one waits until the peer has answered, or until the device is done.
    Wire wire;
    wire.send = [&](size_t bytes) {
      while (queue->retired() < queue->posted()) queue->poll();
      const uint64_t number = ++sent;
      std::memcpy(memory.data() + bytes - sizeof(number), &number, sizeof(number));
      const Transfer transfer = {Transfer::Direction::kWrite, {memory.data(), region.localKey()}, {peer.address, peer.key}, bytes, Signal::kYes};
      queue->post(std::span(&transfer, 1));
      return !queue->failure();
    };
    wire.receive = [&](size_t bytes) {
      auto* const last = reinterpret_cast<uint64_t*>(memory.data() + kHalf + bytes - sizeof(uint64_t));
      ++received;
      for (int spins = 0; std::atomic_ref(*last).load(std::memory_order_acquire) < received; ++spins) {
        relax(spins);
        queue->poll();
        if (queue->failure()) return false;
      }
      return true;
    };
    for (size_t i = 0; i < std::size(kSizes); ++i)
      if (!measure(wire, side, kSizes[i], out[i])) return false;
    return true;
  });
}

// ---- The product.

Result<std::unique_ptr<Mesh>> connectPair(std::vector<transport::Listener>& listeners, int side, transport::Choice choice) {
  transport::MeshOptions options;
  options.rank = side;
  options.world = 2;
  options.peers.push_back({1 - side, "peer", listeners[1 - side].endpoint(), choice});
  return Mesh::connect(std::move(listeners[side]), options);
}

bool report(const Status& status) {
  if (!status.ok()) std::cerr << status.error() << std::endl;
  return status.ok();
}

double allReduceP50(Communicator& group) {
  std::vector<float> sum(2048, 0.0f);
  std::vector<double> us;
  for (int i = 0; i < 5000; ++i) {
    const auto begin = Clock::now();
    if (!report(group.allReduce(sum, sum, "bench"))) return 0;
    if (i >= 500) us.push_back(secondsSince(begin) * 1e6);
  }
  return percentiles(us).p50_us;
}

bool measureLink(transport::Choice choice, std::vector<Figures>& out, double& all_reduce_us) {
  std::vector<transport::Listener> listeners;
  for (int i = 0; i < 2; ++i) listeners.push_back(transport::Listener::open().value());
  return inTwoProcesses([&](int side) {
    auto mesh = connectPair(listeners, side, choice);
    if (!mesh.ok()) return report(mesh.error());
    const auto group = Communicator::create(**mesh, {0, 1}, {}).value();
    std::vector<std::byte> local(kMostBytes);
    const int peers[] = {1 - side};
    Wire wire;
    wire.send = [&](size_t bytes) { return report(group->send(peers, std::span(local).first(bytes), "bench")); };
    wire.receive = [&](size_t bytes) { return report(group->recv(peers[0], std::span(local).first(bytes), "bench")); };
    for (size_t i = 0; i < std::size(kSizes); ++i)
      if (!measure(wire, side, kSizes[i], out[i])) return false;
    all_reduce_us = allReduceP50(*group);
    return all_reduce_us > 0;
  });
}

void print(const char* name, const std::vector<Figures>& link, const std::vector<Figures>& floor, double all_reduce_us) {
  std::printf("%-5s %9s | %8s %8s %7s | floor: %8s %8s %7s | p50 / floor\n", name, "bytes", "p50 us", "p99 us", "GB/s", "p50 us", "p99 us", "GB/s");
  for (size_t i = 0; i < std::size(kSizes); ++i)
    std::printf("%-5s %9zu | %8.2f %8.2f %7.2f |        %8.2f %8.2f %7.2f | %.2f\n", name, kSizes[i], link[i].p50_us, link[i].p99_us,
                link[i].gb_per_s, floor[i].p50_us, floor[i].p99_us, floor[i].gb_per_s, link[i].p50_us / floor[i].p50_us);
  std::printf("%-5s all_reduce of 8192 B, 2 ranks: p50 %.2f us\n\n", name, all_reduce_us);
  std::fflush(stdout);
}

struct Measured {
  const char* name;
  transport::Choice choice;
  bool (*floor)(std::vector<Figures>&);
};
constexpr Measured kMeasured[] = {{"shm", transport::Choice::kShm, floorOfSharedMemory},
                                  {"tcp", transport::Choice::kTcp, floorOfTcp},
                                  {"verbs", transport::Choice::kVerbs, floorOfVerbs}};

bool run(const Measured& measured) {
  std::vector<Figures> link(std::size(kSizes)), floor = link;
  double reduce_us = 0;
  if (!measured.floor(floor) || !measureLink(measured.choice, link, reduce_us)) return false;
  print(measured.name, link, floor, reduce_us);
  return true;
}

/// Leaves no device open: the benchmark forks.
std::string whyNoVerbs() {
  const auto ports = transport::verbs::openPorts({});
  return ports.ok() ? "" : ports.error().message();
}

}  // namespace
}  // namespace exo

int main(int argc, char** argv) {
  const std::vector<std::string> asked(argv + 1, argv + argc);
  for (const std::string& name : asked) {
    if (std::any_of(std::begin(exo::kMeasured), std::end(exo::kMeasured), [&](const auto& each) { return name == each.name; })) continue;
    std::cerr << "usage: bench_transport [shm|tcp|verbs]..." << std::endl;
    return 2;
  }
  exo::bench::printMachine();
  for (const auto& measured : exo::kMeasured) {
    if (!asked.empty() && std::find(asked.begin(), asked.end(), measured.name) == asked.end()) continue;
    if (measured.choice == exo::transport::Choice::kVerbs) {
      if (const std::string why = exo::whyNoVerbs(); !why.empty()) {
        std::cout << "verbs skipped: " << why << std::endl;
        continue;
      }
    }
    if (exo::run(measured)) continue;
    std::cerr << "bench_transport failed" << std::endl;
    return 1;
  }
  return 0;
}
