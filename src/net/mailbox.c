/* A queue under a lock, and an eventfd that wakes the receiver once per batch. */
#include "net/mailbox.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct mailbox {
	pthread_mutex_t lock;
	struct message *first, **last; /* under the lock */
	int fd;
	struct event event;
	void *arg;
};

static struct message *take_all(struct mailbox *mailbox)
{
	pthread_mutex_lock(&mailbox->lock);
	struct message *first = mailbox->first;
	mailbox->first = NULL;
	mailbox->last = &mailbox->first;
	pthread_mutex_unlock(&mailbox->lock);
	return first;
}

static void deliver_all(struct mailbox *mailbox)
{
	struct message *message = take_all(mailbox);

	while (message) {
		struct message *next = message->next;
		message->deliver(message, mailbox->arg);
		message = next;
	}
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	uint64_t count;

	ssize_t n = read(fd, &count, sizeof(count));
	(void)n;
	deliver_all(arg);
}

int mailbox_new(struct loop *loop, void *arg, struct mailbox **ret_mailbox)
{
	struct mailbox *mailbox = calloc(1, sizeof(*mailbox));

	if (!mailbox)
		return -ENOMEM;
	mailbox->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (mailbox->fd < 0) {
		int r = -errno;
		free(mailbox);
		return r;
	}
	pthread_mutex_init(&mailbox->lock, NULL);
	mailbox->last = &mailbox->first;
	mailbox->arg = arg;
	event_assign(&mailbox->event, loop_event_base(loop), mailbox->fd, EV_READ | EV_PERSIST,
		on_wake, mailbox);
	event_add(&mailbox->event, NULL);
	*ret_mailbox = mailbox;
	return 0;
}

void mailbox_free(struct mailbox *mailbox)
{
	if (!mailbox)
		return;
	deliver_all(mailbox);
	event_del(&mailbox->event);
	close(mailbox->fd);
	pthread_mutex_destroy(&mailbox->lock);
	free(mailbox);
}

void mailbox_post(struct mailbox *mailbox, struct message *message)
{
	message->next = NULL;
	pthread_mutex_lock(&mailbox->lock);
	bool was_empty = !mailbox->first;
	*mailbox->last = message;
	mailbox->last = &message->next;
	pthread_mutex_unlock(&mailbox->lock);
	if (was_empty) {
		uint64_t one = 1;
		ssize_t n = write(mailbox->fd, &one, sizeof(one));
		(void)n;
	}
}
