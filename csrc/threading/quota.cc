// The cgroup CPU quota. A container with a quota of two CPUs on a 64-CPU machine has 64 CPUs in its affinity mask. If
// more threads run than the quota allows, the kernel stops all of them for the rest of each period.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "threading/pool.h"

namespace sqz {

namespace {

constexpr int kPath = 4096;

// Reads one line. Returns false if the file is missing or empty.
bool read_line(const char *path, char *line, int size) {
  FILE *f = fopen(path, "re");
  if (!f) return false;
  const bool ok = fgets(line, size, f) != nullptr;
  fclose(f);
  return ok;
}

double quota_v2(const char *directory) {
  char path[kPath + 32], line[128];
  snprintf(path, sizeof path, "%s/cpu.max", directory);
  if (!read_line(path, line, sizeof line)) return 0;
  double quota = 0, period = 0;  // "max 100000", no limit, does not match the format
  return sscanf(line, "%lf %lf", &quota, &period) == 2 && quota > 0 && period > 0 ? quota / period : 0;
}

double quota_v1(const char *directory) {
  char path[kPath + 32], line[128];
  snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", directory);
  if (!read_line(path, line, sizeof line)) return 0;
  const double quota = atof(line);  // -1: no limit
  snprintf(path, sizeof path, "%s/cpu.cfs_period_us", directory);
  if (!read_line(path, line, sizeof line)) return 0;
  const double period = atof(line);
  return quota > 0 && period > 0 ? quota / period : 0;
}

// The smallest quota of a group and its ancestors: from `mount`/`group` up to `mount`.
double least(const char *mount, const char *group, double (*read)(const char *)) {
  char directory[kPath];
  if (snprintf(directory, sizeof directory, "%s%s", mount, group) >= kPath) return 0;
  double quota = 0;
  for (;;) {
    const double q = read(directory);
    if (q > 0 && (quota == 0 || q < quota)) quota = q;
    char *slash = strrchr(directory, '/');
    if (!slash || slash < directory + strlen(mount)) return quota;
    *slash = '\0';
  }
}

bool lists_cpu(const char *controllers) {
  for (const char *p = controllers; p;) {
    if (strncmp(p, "cpu", 3) == 0 && (p[3] == ',' || p[3] == '\0')) return true;
    p = strchr(p, ',');
    if (p) ++p;
  }
  return false;
}

}  // namespace

double cpu_quota(const char *root) {
  char path[kPath], line[kPath];
  if (snprintf(path, sizeof path, "%s/proc/self/cgroup", root) >= kPath) return 0;
  FILE *f = fopen(path, "re");
  if (!f) return 0;
  double quota = 0;
  while (fgets(line, sizeof line, f)) {  // hierarchy:controllers:/group
    line[strcspn(line, "\n")] = '\0';
    char *controllers = strchr(line, ':');
    if (!controllers) continue;
    char *group = strchr(++controllers, ':');
    if (!group) continue;
    *group++ = '\0';
    if (strcmp(group, "/") == 0) group = const_cast<char *>("");
    char mount[kPath];
    double q = 0;
    if (controllers[0] == '\0') {
      if (snprintf(mount, sizeof mount, "%s/sys/fs/cgroup", root) < kPath) q = least(mount, group, quota_v2);
    } else if (lists_cpu(controllers)) {
      if (snprintf(mount, sizeof mount, "%s/sys/fs/cgroup/cpu", root) < kPath) q = least(mount, group, quota_v1);
    }
    if (q > 0 && (quota == 0 || q < quota)) quota = q;
  }
  fclose(f);
  return quota;
}

}  // namespace sqz
