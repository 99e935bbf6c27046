// A node with a fake engine as a process of its own, to be killed by tests:
//   test_node RANK WORLD LISTEN COORDINATOR PEER_TIMEOUT_MS TOKEN_MS
// Prints "listening ADDRESS" and "ready"; its error goes to stdout too, as "error ...". Exit code as exo-exec's.
#include <signal.h>

#include <cstdlib>
#include <iostream>
#include <thread>

#include "fake_worker.h"

using namespace exo;
using namespace exo::cluster;

int main(int argc, char** argv) {
  if (argc != 7) return 2;
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  static StopSignal stop;
  std::thread([signals] {
    int number = 0;
    sigwait(&signals, &number);
    stop.stop("terminated");
  }).detach();

  const auto listen = parseAddress(argv[3]), coordinator = parseAddress(argv[4]);
  if (!listen.ok() || !coordinator.ok()) return 2;
  NodeOptions options = fakeNode(std::atoi(argv[1]), std::atoi(argv[2]), *listen, *coordinator);
  options.peer_timeout = std::chrono::milliseconds(std::atoi(argv[5]));
  options.join_timeout = std::chrono::seconds(20);
  options.events.listening = [](const Address& address) { std::cout << "listening " << address.text() << std::endl; };
  options.events.ready = [](const NodeInfo&, uint64_t) { std::cout << "ready" << std::endl; };
  FakeWorker worker(stop, std::chrono::milliseconds(std::atoi(argv[6])));
  const Status status = runNode(options, Security::loopbackOnly(), worker, stop);
  if (!status.ok()) std::cout << "error " << status.error() << std::endl;
  return status.ok() ? 0 : 1;
}
