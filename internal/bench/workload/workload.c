// Makes system calls of one kind as fast as it can, and prints what they took: for each
// batch a line with their number and the nanoseconds. It is what the benchmarks measure,
// and C since a Go program is never alone in its process.
//
//	workload CPU KIND MILLISECONDS BATCHES [ARGUMENT]
//
// CPU is the one that it stays on, or -1. The kinds:
//
//	open FILE      opens the file and closes it
//	exec PROGRAM   forks, executes the program and waits for it
//	getppid        asks for its parent
//	connect        connects to itself on the loopback device and closes
//	numbered DIR   opens and removes DIR/0, DIR/1 and so on, in no hurry, until its
//	               standard input ends, and prints only how many
//
// The first batch is made twice, and counts the second time.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// MAX_PENDING connections wait to be accepted, at most.
#define MAX_PENDING 64

static void check(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "workload: %s: %s\n", what, strerror(errno));
	exit(1);
}

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

// A kind makes some calls, returns their number, and adds the time that they took.

static long open_close(const char *file, long long *took)
{
	long long begin = now();

	for (int i = 0; i < 64; i++) {
		int fd = open(file, O_RDONLY | O_CLOEXEC);

		check(fd >= 0, "open");
		close(fd);
	}
	*took += now() - begin;
	return 64;
}

static long fork_exec(const char *program, long long *took)
{
	long long begin = now();
	int status = 0;
	pid_t child = fork();

	check(child >= 0, "fork");
	if (!child) {
		execl(program, program, (char *)NULL);
		_exit(127);
	}
	check(waitpid(child, &status, 0) == child && !status, "executing the program");
	*took += now() - begin;
	return 1;
}

static long get_parent(const char *unused, long long *took)
{
	long long begin = now();

	(void)unused;
	for (int i = 0; i < 1024; i++)
		syscall(SYS_getppid);
	*took += now() - begin;
	return 1024;
}

// The sockets are made before, and the connections accepted after what is measured.
// Closing resets them, so that they leave no port waiting.
static long connect_close(const char *unused, long long *took)
{
	static struct sockaddr_in peer = { .sin_family = AF_INET };
	static int listener = -1;
	struct linger reset = { .l_onoff = 1 };
	int fds[MAX_PENDING], fd;
	long long begin;

	(void)unused;
	if (listener < 0) {
		socklen_t size = sizeof(peer);

		peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		check(listener >= 0, "socket");
		check(!bind(listener, (struct sockaddr *)&peer, size), "bind");
		check(!listen(listener, 2 * MAX_PENDING), "listen");
		check(!getsockname(listener, (struct sockaddr *)&peer, &size), "getsockname");
	}
	for (int i = 0; i < MAX_PENDING; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		check(fds[i] >= 0, "socket");
		check(!setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)),
		      "setsockopt");
	}
	begin = now();
	for (int i = 0; i < MAX_PENDING; i++) {
		check(!connect(fds[i], (struct sockaddr *)&peer, sizeof(peer)), "connect");
		close(fds[i]);
	}
	*took += now() - begin;
	while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		close(fd);
	check(errno == EAGAIN, "accept4");
	return MAX_PENDING;
}

// numbered opens files of its own until standard input ends.
static long numbered(const char *dir, int pause_ms)
{
	struct pollfd end = { .fd = STDIN_FILENO, .events = POLLIN };
	char path[256];
	long n = 0;

	for (; !poll(&end, 1, pause_ms); n++) {
		int fd;

		snprintf(path, sizeof(path), "%s/%ld", dir, n);
		fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
		check(fd >= 0, "open");
		close(fd);
		check(!unlink(path), "unlink");
	}
	return n;
}

static const struct {
	const char *name;
	long (*make)(const char *argument, long long *took);
} kinds[] = {
	{ "open", open_close },
	{ "exec", fork_exec },
	{ "getppid", get_parent },
	{ "connect", connect_close },
};

int main(int argc, char **argv)
{
	const char *argument = argc > 5 ? argv[5] : "";
	long (*make)(const char *argument, long long *took) = NULL;
	long long wanted;
	int cpu;

	if (argc < 5) {
		fprintf(stderr, "usage: workload CPU KIND MILLISECONDS BATCHES [ARGUMENT]\n");
		return 2;
	}
	cpu = atoi(argv[1]);
	if (cpu >= 0) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		check(!sched_setaffinity(0, sizeof(set), &set), "sched_setaffinity");
	}
	if (!strcmp(argv[2], "numbered")) {
		printf("%ld\n", numbered(argument, atoi(argv[3])));
		return 0;
	}
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(argv[2], kinds[i].name))
			make = kinds[i].make;
	errno = EINVAL;
	check(make != NULL, argv[2]);
	wanted = atoll(argv[3]) * 1000000;
	for (int batch = -1; batch < atoi(argv[4]); batch++) {
		long long took = 0;
		long made = 0;

		while (took < wanted)
			made += make(argument, &took);
		if (batch >= 0)
			printf("%ld %lld\n", made, took);
	}
	return 0;
}
