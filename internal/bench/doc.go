// Package bench measures the agent as a whole: real processes, real files, the real
// kernel. Its benchmarks run the agent in a cgroup of their own and print figures;
// they assert none, since a machine's moods are not the agent's.
package bench
