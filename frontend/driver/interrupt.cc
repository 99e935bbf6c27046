#include "frontend/driver/interrupt.h"

#include <signal.h>
#include <unistd.h>

namespace exo {

namespace {

std::atomic<bool> interrupted = false;  // the one thing a signal handler may touch

void onSignal(int) {
  if (interrupted.exchange(true)) ::_exit(130);
}

void install(void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(signal, &action, nullptr);
}

}  // namespace

Interrupt::Interrupt() {
  interrupted = false;
  install(onSignal);
}

Interrupt::~Interrupt() { install(SIG_DFL); }

const std::atomic<bool>* Interrupt::flag() const { return &interrupted; }

}  // namespace exo
