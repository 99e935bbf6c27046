// What every benchmark prints first: on which machine, and whether it was busy before the benchmark began.
#pragma once

namespace exo::bench {

/// One line with processor, cores this process may run on and load average, and a warning when others use them.
void printMachine();

/// Cores this process may run on; at least 1.
int allowedCores();

}  // namespace exo::bench
