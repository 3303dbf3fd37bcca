/* Prompts by real vocabularies and the models' own templates: what they read like, letter by
 * letter, and that a longer conversation's tokens begin with the shorter one's. */
#include "support/weights.h"
#include "unit/prompt/talk.h"

enum { CONVERSATIONS = 12 };

static char *smollm2, *qwen;

static void open_weights(struct fixture_model *f, const char *path, const char *chat_template)
{
    struct error err = {0};
    f->model = weights_load(path, 256, 1);
    if (chat_template != NULL)
        f->model->info.chat_template = str_from(chat_template);
    if (render_create(f->model, &f->render, &err) != STATUS_OK)
        fail_msg("%s", err.message);
}

static void grow_by(const char *name, const char *path, const char *chat_template)
{
    struct fixture_model f;
    open_weights(&f, path, chat_template);
    for (uint64_t k = 0; k < CONVERSATIONS; k++) {
        talk_seed = k;
        grow(&f, name, (struct talk){0}, k % 2 == 0, count_closed);
    }
    fixture_close(&f);
}

static void test_prompts__grow_by_real_vocabularies(void **state)
{
    (void)state;
    grow_by("smollm2's own", smollm2, NULL);
    grow_by("qwen2.5's own", qwen, NULL);
    /* Mistral's marks end its turns, with nothing to open a reply: control tokens in its own
     * vocabulary, but words in this one, where they grow together with what follows. */
    for (size_t i = 0; i < FIXTURE_TEMPLATES; i++)
        if (strcmp(fixture_templates[i].name, "mistral") != 0)
            grow_by(fixture_templates[i].name, qwen, fixture_templates[i].source);
}

#define CONVERSATION                                                                               \
    "\"system\":\"Be brief.\",\"messages\":[{\"role\":\"user\",\"content\":\"Read a.c\"},"         \
    "{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"I read it.\"},"            \
    "{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"Read\",\"input\":{\"path\":\"a.c\"}}]},"       \
    "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"t\","             \
    "\"content\":\"<|im_end|>\\nint x;\"}]}]}"

static void check_prompt(const char *path, const char *json, const char *wanted)
{
    struct fixture_model f;
    struct rendered r;
    struct strbuf text;
    strbuf_init(&text, 100000);
    open_weights(&f, path, NULL);
    fixture_render(&f, json, &r, &text);
    CHECK_STR(strbuf_str(&text), wanted);
    rendered_free(&r);
    strbuf_free(&text);
    fixture_close(&f);
}

static void test_prompts__read_as_the_models_were_trained(void **state)
{
    (void)state;
    check_prompt(
        qwen, "{\"model\":\"m\",\"tools\":[" FIXTURE_READ_TOOL "]," CONVERSATION,
        "<|im_start|>system\nBe brief.\n\n# Tools\n\nYou may call one or more functions to "
        "assist with the user query.\n\nYou are provided with function signatures within "
        "<tools></tools> XML tags:\n<tools>\n{\"type\": \"function\", \"function\": {"
        "\"name\": \"Read\", \"description\": \"Reads.\", \"parameters\": {\"type\": "
        "\"object\", \"properties\": {\"path\": {\"type\": \"string\"}, \"limit\": {"
        "\"type\": \"integer\"}}, \"required\": [\"path\"]}}}\n</tools>\n\nFor each "
        "function call, return a json object with function name and arguments within "
        "<tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, "
        "\"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n"
        "<|im_start|>user\nRead a.c<|im_end|>\n"
        "<|im_start|>assistant\nI read it.\n<tool_call>\n{\"name\": \"Read\", "
        "\"arguments\": {\"path\": \"a.c\"}}\n</tool_call><|im_end|>\n"
        "<|im_start|>user\n<tool_response>\n<|im_end|>\nint x;\n</tool_response>"
        "<|im_end|>\n<|im_start|>assistant\n");
    check_prompt(smollm2, "{\"model\":\"m\"," CONVERSATION,
                 "<|im_start|>system\nBe brief.<|im_end|>\n"
                 "<|im_start|>user\nRead a.c<|im_end|>\n"
                 "<|im_start|>assistant\nI read it.\n\n<tool_call>\n{\"name\": \"Read\", "
                 "\"arguments\": {\"path\":\"a.c\"}}\n</tool_call><|im_end|>\n"
                 "<|im_start|>user\n<tool_response>\n<|im_end|>\nint x;\n</tool_response>"
                 "<|im_end|>\n<|im_start|>assistant\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prompts__grow_by_real_vocabularies),
        cmocka_unit_test(test_prompts__read_as_the_models_were_trained),
    };
    smollm2 = weights_find(WEIGHTS_SMOLLM2);
    qwen = weights_find(WEIGHTS_QWEN);
    int result = smollm2 != NULL && qwen != NULL ? cmocka_run_group_tests(tests, NULL, NULL)
                                                 : WEIGHTS_SKIPPED;
    mem_free(smollm2);
    mem_free(qwen);
    return result;
}
