// CPU time of whole processes, and of the machine.
#pragma once

#include <glog/logging.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <fstream>
#include <string>

namespace cairn::bench {

inline double SecondsOf(clockid_t clock) {
  timespec t{};
  CHECK_EQ(clock_gettime(clock, &t), 0);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct CpuTime {
  double total = 0;  // seconds
  double ticks = 0;  // of the kernel's sampling, user and system together
  double system_ticks = 0;

  // Seconds in the kernel: the exact total, shared out as sampled.
  double System() const { return ticks == 0 ? 0 : total * system_ticks / ticks; }
};
inline CpuTime operator-(const CpuTime& a, const CpuTime& b) {
  return {a.total - b.total, a.ticks - b.ticks, a.system_ticks - b.system_ticks};
}
inline CpuTime& operator+=(CpuTime& a, const CpuTime& b) {
  a.total += b.total;
  a.ticks += b.ticks;
  a.system_ticks += b.system_ticks;
  return a;
}

// Used so far by all threads of a process, which may be this one.
inline CpuTime CpuTimeOf(pid_t process) {
  clockid_t clock{};
  CHECK_EQ(clock_getcpuclockid(process, &clock), 0);
  CpuTime time;
  time.total = SecondsOf(clock);
  std::ifstream file("/proc/" + std::to_string(process) + "/stat");
  std::string text;
  std::getline(file, text, ')');  // number and name
  for (int field = 3; field <= 13; ++field) file >> text;
  double user = 0;
  file >> user >> time.system_ticks;
  CHECK(file.good()) << "cannot read the CPU time of process " << process;
  time.ticks = user + time.system_ticks;
  return time;
}

// Seconds that all cores together have worked so far, for whatever process.
inline double BusySeconds() {
  std::ifstream file("/proc/stat");
  std::string name;
  double user = 0, nice = 0, system = 0, idle = 0, waiting = 0, interrupts = 0, soft = 0;
  file >> name >> user >> nice >> system >> idle >> waiting >> interrupts >> soft;
  CHECK(file.good() && name == "cpu") << "cannot read /proc/stat";
  return (user + nice + system + interrupts + soft) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

}  // namespace cairn::bench
