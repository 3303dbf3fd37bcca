/* How a server that runs comes to its end: by signals, early and late. */
#include "support/check.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/thread.h"
#include "engine/engine_script.h"
#include "server/server.h"

static struct server *make_server(struct engine *engine)
{
    struct server_options options = {
        .host = "127.0.0.1",
        .engine = engine,
        .version = "0",
        .model_id = "claude-local-script",
        .model_display_name = "script",
    };
    struct server *server = NULL;
    struct error err;
    return server_create(&options, &server, &err) == STATUS_OK ? server : NULL;
}

/* A process of its own: a signal with its default action would end the one that runs the tests. */
static void serve_and_exit(int reason)
{
    struct engine *engine = engine_script_create(".");
    struct server *server = make_server(engine);
    if (server == NULL)
        _exit(100);
    if (reason == 0)
        kill(getpid(), SIGTERM);
    else
        server_stop(server, reason);
    if (server_run(server) != reason)
        _exit(101);
    kill(getpid(), SIGTERM);
    kill(getpid(), SIGINT);
    server_destroy(server);
    kill(getpid(), SIGTERM);
    engine_destroy(engine);
    _exit(42);
}

static int status_of_server(int reason)
{
    pid_t pid = fork();
    if (pid == 0)
        serve_and_exit(reason);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void test_stop__a_late_signal_does_not_cut_an_orderly_end_short(void **state)
{
    (void)state;
    int reasons[] = {0, 75};
    for (size_t i = 0; i < 2; i++) {
        int status = status_of_server(reasons[i]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 42);
    }
}

static void *keep_mask(void *arg)
{
    pthread_sigmask(SIG_SETMASK, NULL, arg);
    return NULL;
}

static void test_stop__signals_are_the_main_threads(void **state)
{
    (void)state;
    sigset_t mine, of_thread;
    pthread_t thread;
    assert_int_equal(thread_start(&thread, "mask", keep_mask, &of_thread), STATUS_OK);
    pthread_join(thread, NULL);
    pthread_sigmask(SIG_SETMASK, NULL, &mine);
    int held[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < 2; i++) {
        assert_true(sigismember(&of_thread, held[i]));
        assert_false(sigismember(&mine, held[i]));
    }
    assert_false(sigismember(&of_thread, SIGUSR1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stop__a_late_signal_does_not_cut_an_orderly_end_short),
        cmocka_unit_test(test_stop__signals_are_the_main_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
