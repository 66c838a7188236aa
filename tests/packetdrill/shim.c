/*
 * The table of functions that packetdrill calls: each takes the instance first
 * and otherwise looks like the system call of its name. Calls into Go return
 * the result, or the negative errno.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include "_cgo_export.h"

#define EXPORT __attribute__((visibility("default")))

/*
 * Whether tun0 segments, for scripts that switch that off with ethtool. Where there
 * is no tun0 nobody did.
 */
int pdOffload(void)
{
	struct ethtool_value value = { .cmd = ETHTOOL_GGSO };
	struct ifreq req;
	int on = 1;
	int fd = syscall(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return 1;
	memset(&req, 0, sizeof(req));
	strcpy(req.ifr_name, "tun0");
	req.ifr_data = (void *)&value;
	if (syscall(SYS_ioctl, fd, SIOCETHTOOL, &req) == 0)
		on = value.data != 0;
	syscall(SYS_close, fd);
	return on;
}

struct packetdrill_interface {
	void *userdata;
	void (*free)(void *);
	int (*socket)(void *, int, int, int);
	int (*bind)(void *, int, const struct sockaddr *, socklen_t);
	int (*listen)(void *, int, int);
	int (*accept)(void *, int, struct sockaddr *, socklen_t *);
	int (*connect)(void *, int, const struct sockaddr *, socklen_t);
	ssize_t (*read)(void *, int, void *, size_t);
	ssize_t (*readv)(void *, int, const struct iovec *, int);
	ssize_t (*recv)(void *, int, void *, size_t, int);
	ssize_t (*recvfrom)(void *, int, void *, size_t, int, struct sockaddr *, socklen_t *);
	ssize_t (*recvmsg)(void *, int, struct msghdr *, int);
	ssize_t (*write)(void *, int, const void *, size_t);
	ssize_t (*writev)(void *, int, const struct iovec *, int);
	ssize_t (*send)(void *, int, const void *, size_t, int);
	ssize_t (*sendto)(void *, int, const void *, size_t, int, const struct sockaddr *, socklen_t);
	ssize_t (*sendmsg)(void *, int, const struct msghdr *, int);
	int (*fcntl)(void *, int, int, ...);
	int (*ioctl)(void *, int, unsigned long, ...);
	int (*close)(void *, int);
	int (*shutdown)(void *, int, int);
	int (*getsockopt)(void *, int, int, int, void *, socklen_t *);
	int (*setsockopt)(void *, int, int, int, const void *, socklen_t);
	int (*poll)(void *, struct pollfd *, nfds_t, int);
	int (*netdev_send)(void *, const void *, size_t);
	int (*netdev_receive)(void *, void *, size_t *, long long *);
	int (*usleep)(void *, useconds_t);
	int (*gettimeofday)(void *, struct timeval *, struct timezone *);
	int (*epoll_create)(void *, int);
	int (*epoll_ctl)(void *, int, int, int, struct epoll_event *);
	int (*epoll_wait)(void *, int, struct epoll_event *, int, int);
	int (*pipe)(void *, int[2]);
	int (*splice)(void *, int, loff_t *, int, loff_t *, size_t, unsigned int);
};

static uintptr_t instance; /* for getsockopt, which is called without one */

static long finish(long r)
{
	if (r >= 0)
		return r;
	errno = (int)-r;
	return -1;
}

#define H ((uintptr_t)u)

static void do_free(void *u) { instance = 0; pdFree(H); }
static int do_socket(void *u, int d, int t, int p) { return finish(pdSocket(H, d, t, p)); }
static int do_bind(void *u, int fd, const struct sockaddr *a, socklen_t n) { return finish(pdBind(H, fd, (void *)a, n)); }
static int do_listen(void *u, int fd, int b) { return finish(pdListen(H, fd, b)); }
static int do_accept(void *u, int fd, struct sockaddr *a, socklen_t *n) { return finish(pdAccept(H, fd, a, n)); }
static int do_connect(void *u, int fd, const struct sockaddr *a, socklen_t n) { return finish(pdConnect(H, fd, (void *)a, n)); }
static ssize_t do_recv(void *u, int fd, void *b, size_t n, int f) { return finish(pdRead(H, fd, b, n, f)); }
static ssize_t do_read(void *u, int fd, void *b, size_t n) { return do_recv(u, fd, b, n, 0); }
static ssize_t do_readv(void *u, int fd, const struct iovec *v, int n) { return finish(pdReadv(H, fd, (void *)v, n, 0)); }
static ssize_t do_send(void *u, int fd, const void *b, size_t n, int f) { return finish(pdWrite(H, fd, (void *)b, n, f)); }
static ssize_t do_write(void *u, int fd, const void *b, size_t n) { return do_send(u, fd, b, n, 0); }
static ssize_t do_writev(void *u, int fd, const struct iovec *v, int n) { return finish(pdWritev(H, fd, (void *)v, n, 0)); }

/* TCP leaves the address alone: the socket is connected. */
static ssize_t do_recvfrom(void *u, int fd, void *b, size_t n, int f, struct sockaddr *a, socklen_t *l)
{
	(void)a, (void)l;
	return do_recv(u, fd, b, n, f);
}

static ssize_t do_sendto(void *u, int fd, const void *b, size_t n, int f, const struct sockaddr *a, socklen_t l)
{
	if (f & MSG_FASTOPEN)
		return finish(pdWriteFirst(H, fd, (void *)b, n, f, (void *)a, l));
	return do_send(u, fd, b, n, f);
}

/* Tells how much there is left to read, if TCP_INQ is on; less than 0 if not. */
static void put_inq(struct msghdr *m, int inq)
{
	struct cmsghdr *c = m->msg_control;

	if (inq < 0 || !c || m->msg_controllen < CMSG_LEN(sizeof(inq))) {
		m->msg_flags |= inq < 0 ? 0 : MSG_CTRUNC;
		m->msg_controllen = 0;
		return;
	}
	m->msg_controllen = CMSG_LEN(sizeof(inq));
	c->cmsg_len = CMSG_LEN(sizeof(inq));
	c->cmsg_level = IPPROTO_TCP;
	c->cmsg_type = 36; /* TCP_CM_INQ of <linux/tcp.h> */
	memcpy(CMSG_DATA(c), &inq, sizeof(inq));
}

static ssize_t do_recvmsg(void *u, int fd, struct msghdr *m, int f)
{
	ssize_t n = finish(pdReadv(H, fd, m->msg_iov, (int)m->msg_iovlen, f));
	if (n < 0)
		return n;
	m->msg_namelen = 0;
	m->msg_flags = f & MSG_OOB;
	put_inq(m, pdInq(H, fd));
	return n;
}

static ssize_t do_sendmsg(void *u, int fd, const struct msghdr *m, int f)
{
	if (f & MSG_FASTOPEN)
		return finish(pdWritevFirst(H, fd, m->msg_iov, (int)m->msg_iovlen, f, m->msg_name, m->msg_namelen));
	return finish(pdWritev(H, fd, m->msg_iov, (int)m->msg_iovlen, f));
}

static int do_fcntl(void *u, int fd, int cmd, ...)
{
	va_list l;
	va_start(l, cmd);
	long arg = va_arg(l, long);
	va_end(l);
	return finish(pdFcntl(H, fd, cmd, arg));
}

static int do_ioctl(void *u, int fd, unsigned long request, ...)
{
	va_list l;
	va_start(l, request);
	int *arg = va_arg(l, int *);
	va_end(l);
	return finish(pdIoctl(H, fd, request, arg));
}

static int do_close(void *u, int fd) { return finish(pdClose(H, fd)); }
static int do_shutdown(void *u, int fd, int how) { return finish(pdShutdown(H, fd, how)); }
static int do_getsockopt(void *u, int fd, int l, int o, void *v, socklen_t *n) { return finish(pdGetsockopt(H, fd, l, o, v, n)); }
static int do_setsockopt(void *u, int fd, int l, int o, const void *v, socklen_t n) { return finish(pdSetsockopt(H, fd, l, o, (void *)v, n)); }
static int do_poll(void *u, struct pollfd *f, nfds_t n, int t) { return pdPoll(H, f, n, t); }
static int do_netdev_send(void *u, const void *b, size_t n) { return pdSend(H, (void *)b, n); }
static int do_netdev_receive(void *u, void *b, size_t *n, long long *t) { return pdReceive(H, b, n, t); }
static int do_usleep(void *u, useconds_t t) { (void)u; pdSleep(t); return 0; }
static int do_gettimeofday(void *u, struct timeval *t, struct timezone *z) { (void)u, (void)z; return gettimeofday(t, NULL); }

/*
 * Scripts look at TCP_INFO with libc's getsockopt: under LD_PRELOAD they get
 * this one, which knows our descriptors. What scripts execute must not load it.
 */
EXPORT int getsockopt(int fd, int level, int name, void *value, socklen_t *n)
{
	if (instance) {
		long r = pdGetsockopt(instance, fd, level, name, value, n);
		if (r != -EBADF)
			return (int)finish(r);
	}
	return (int)syscall(SYS_getsockopt, fd, level, name, value, n);
}

/* The table has no sendfile: scripts call libc's. */
EXPORT ssize_t sendfile(int fd, int file, off_t *at, size_t n)
{
	if (instance && pdOwns(instance, fd))
		return finish(pdSendfile(instance, fd, file, at, n));
	return syscall(SYS_sendfile, fd, file, at, n);
}

__attribute__((constructor)) static void forget_preload(void)
{
	unsetenv("LD_PRELOAD");
}

static int do_epoll_create(void *u, int n) { return finish(pdEpollCreate(H, n)); }
static int do_epoll_ctl(void *u, int e, int o, int f, struct epoll_event *v) { return finish(pdEpollCtl(H, e, o, f, v)); }
static int do_epoll_wait(void *u, int e, struct epoll_event *v, int n, int t) { return finish(pdEpollWait(H, e, v, n, t)); }
static int do_pipe(void *u, int p[2]) { (void)u; return pipe(p); }
static int do_splice(void *u, int a, loff_t *b, int c, loff_t *d, size_t n, unsigned int f) { return finish(pdSplice(H, a, b, c, d, n, f)); }

EXPORT void packetdrill_interface_init(const char *flags, struct packetdrill_interface *t)
{
	instance = pdNew((char *)flags);
	*t = (struct packetdrill_interface){
		.userdata = (void *)instance,
		.free = do_free, .socket = do_socket, .bind = do_bind, .listen = do_listen,
		.accept = do_accept, .connect = do_connect, .read = do_read, .readv = do_readv,
		.recv = do_recv, .recvfrom = do_recvfrom, .recvmsg = do_recvmsg, .write = do_write,
		.writev = do_writev, .send = do_send, .sendto = do_sendto, .sendmsg = do_sendmsg,
		.fcntl = do_fcntl, .ioctl = do_ioctl, .close = do_close, .shutdown = do_shutdown,
		.getsockopt = do_getsockopt, .setsockopt = do_setsockopt, .poll = do_poll,
		.netdev_send = do_netdev_send, .netdev_receive = do_netdev_receive,
		.usleep = do_usleep, .gettimeofday = do_gettimeofday,
		.epoll_create = do_epoll_create, .epoll_ctl = do_epoll_ctl, .epoll_wait = do_epoll_wait,
		.pipe = do_pipe, .splice = do_splice,
	};
}
