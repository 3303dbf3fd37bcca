/* One conversation by the templates of the well-known families, letter by letter: what a change of
 * canon, of rendering, or of the pinned llama.cpp does to prompts shows here. */
#include "unit/prompt/prompt_fixture.h"

#define TALK                                                                                       \
    "\"system\":\"Be brief.\",\"messages\":[{\"role\":\"user\",\"content\":\"Read a.c\"},"         \
    "{\"role\":\"system\",\"content\":\"It is late.\"},"                                           \
    "{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"I read it.\"},"            \
    "{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"Read\",\"input\":{\"path\":\"a.c\"}}]},"       \
    "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"t\","             \
    "\"content\":\"int x;\"},{\"type\":\"text\",\"text\":\"Well?\"}]}]}"

static const struct golden {
    const char *name, *json, *wanted;
} goldens[] = {
    {"chatml", "{\"model\":\"m\"," TALK,
     "<|im_start|>system\n"
     "Be brief.<|im_end|>\n"
     "<|im_start|>user\n"
     "Read a.c<|im_end|>\n"
     "<|im_start|>system\n"
     "It is late.<|im_end|>\n"
     "<|im_start|>assistant\n"
     "I read it.\n"
     "\n"
     "<tool_call>\n"
     "{\"name\": \"Read\", \"arguments\": {\"path\":\"a.c\"}}\n"
     "</tool_call><|im_end|>\n"
     "<|im_start|>user\n"
     "<tool_response>\n"
     "int x;\n"
     "</tool_response>\n"
     "\n"
     "Well?<|im_end|>\n"
     "<|im_start|>assistant\n"},
    {"smollm2", "{\"model\":\"m\"," TALK,
     "<|im_start|>system\n"
     "Be brief.<|im_end|>\n"
     "<|im_start|>user\n"
     "Read a.c<|im_end|>\n"
     "<|im_start|>system\n"
     "It is late.<|im_end|>\n"
     "<|im_start|>assistant\n"
     "I read it.\n"
     "\n"
     "<tool_call>\n"
     "{\"name\": \"Read\", \"arguments\": {\"path\":\"a.c\"}}\n"
     "</tool_call><|im_end|>\n"
     "<|im_start|>user\n"
     "<tool_response>\n"
     "int x;\n"
     "</tool_response>\n"
     "\n"
     "Well?<|im_end|>\n"
     "<|im_start|>assistant\n"},
    {"llama3", "{\"model\":\"m\",\"tools\":[" FIXTURE_READ_TOOL "]," TALK,
     "<|begin|><|head|>system<|/head|>\n"
     "\n"
     "Be brief.\n"
     "{\"type\": \"function\", \"function\": {\"name\": \"Read\", \"description\": "
     "\"Reads.\", \"parameters\": {\"type\": \"object\", \"properties\": {\"path\": "
     "{\"type\": \"string\"}, \"limit\": {\"type\": \"integer\"}}, \"required\": "
     "[\"path\"]}}}<|eot|><|head|>user<|/head|>\n"
     "\n"
     "Read a.c<|eot|><|head|>system<|/head|>\n"
     "\n"
     "It is late.<|eot|><|head|>assistant<|/head|>\n"
     "\n"
     "{\"name\": \"Read\", \"parameters\": {\"path\": "
     "\"a.c\"}}<|eot|><|head|>ipython<|/head|>\n"
     "\n"
     "\"int x;\"<|eot|><|head|>user<|/head|>\n"
     "\n"
     "Well?<|eot|><|head|>assistant<|/head|>\n"
     "\n"},
    {"gemma", "{\"model\":\"m\"," TALK,
     "<turn>user\n"
     "Be brief.\n"
     "\n"
     "Read a.c\n"
     "\n"
     "<system-reminder>\n"
     "It is late.\n"
     "</system-reminder></turn>\n"
     "<turn>model\n"
     "I read it.\n"
     "\n"
     "<tool_call>\n"
     "{\"name\": \"Read\", \"arguments\": {\"path\":\"a.c\"}}\n"
     "</tool_call></turn>\n"
     "<turn>user\n"
     "<tool_response>\n"
     "int x;\n"
     "</tool_response>\n"
     "\n"
     "Well?</turn>\n"
     "<turn>model\n"},
    {"phi3", "{\"model\":\"m\"," TALK,
     "<|system|>\n"
     "Be brief.<|end|>\n"
     "<|user|>\n"
     "Read a.c<|end|>\n"
     "<|system|>\n"
     "It is late.<|end|>\n"
     "<|assistant|>\n"
     "I read it.\n"
     "\n"
     "<tool_call>\n"
     "{\"name\": \"Read\", \"arguments\": {\"path\":\"a.c\"}}\n"
     "</tool_call><|end|>\n"
     "<|user|>\n"
     "<tool_response>\n"
     "int x;\n"
     "</tool_response>\n"
     "\n"
     "Well?<|end|>\n"
     "<|assistant|>\n"},
    {"mistral", "{\"model\":\"m\",\"tools\":[" FIXTURE_READ_TOOL "]," TALK,
     "[AVAILABLE_TOOLS][{\"type\": \"function\", \"function\": {\"name\": \"Read\", "
     "\"description\": \"Reads.\", \"parameters\": {\"type\": \"object\", \"properties\": "
     "{\"path\": {\"type\": \"string\"}, \"limit\": {\"type\": \"integer\"}}, "
     "\"required\": [\"path\"]}}}][/AVAILABLE_TOOLS][INST]Be brief.\n"
     "\n"
     "Read a.c\n"
     "\n"
     "<system-reminder>\n"
     "It is late.\n"
     "</system-reminder>[/INST]I read it.[TOOL_CALLS][{\"name\": \"Read\", \"arguments\": "
     "{\"path\": \"a.c\"}, \"id\": \"c00000001\"}]</s>[TOOL_RESULTS]{\"content\": int x;, "
     "\"call_id\": \"c00000001\"}[/TOOL_RESULTS][INST]Well?[/INST]"},
    {"qwen3", "{\"model\":\"m\",\"tools\":[" FIXTURE_READ_TOOL "]," TALK,
     "<|im_start|>system\n"
     "Be brief.\n"
     "\n"
     "<tools>\n"
     "{\"type\": \"function\", \"function\": {\"name\": \"Read\", \"description\": "
     "\"Reads.\", \"parameters\": {\"type\": \"object\", \"properties\": {\"path\": "
     "{\"type\": \"string\"}, \"limit\": {\"type\": \"integer\"}}, \"required\": "
     "[\"path\"]}}}\n"
     "</tools>\n"
     "Call with <tool_call>\n"
     "{\"name\": ..., \"arguments\": ...}\n"
     "</tool_call><|im_end|>\n"
     "<|im_start|>user\n"
     "Read a.c<|im_end|>\n"
     "<|im_start|>system\n"
     "It is late.<|im_end|>\n"
     "<|im_start|>assistant\n"
     "I read it.\n"
     "<tool_call>\n"
     "{\"name\": \"Read\", \"arguments\": {\"path\": \"a.c\"}}\n"
     "</tool_call><|im_end|>\n"
     "<|im_start|>user\n"
     "<tool_response>\n"
     "int x;\n"
     "</tool_response><|im_end|>\n"
     "<|im_start|>user\n"
     "Well?<|im_end|>\n"
     "<|im_start|>assistant\n"
     "<think>\n"
     "\n"
     "</think>\n"
     "\n"},
    {"qwen3-coder", "{\"model\":\"m\",\"tools\":[" FIXTURE_READ_TOOL "]," TALK,
     "<|im_start|>system\n"
     "<tools>\n"
     "{\"type\": \"function\", \"function\": {\"name\": \"Read\", \"description\": "
     "\"Reads.\", \"parameters\": {\"type\": \"object\", \"properties\": {\"path\": "
     "{\"type\": \"string\"}, \"limit\": {\"type\": \"integer\"}}, \"required\": "
     "[\"path\"]}}}\n"
     "</tools><|im_end|>\n"
     "<|im_start|>system\n"
     "Be brief.<|im_end|>\n"
     "<|im_start|>user\n"
     "Read a.c<|im_end|>\n"
     "<|im_start|>system\n"
     "It is late.<|im_end|>\n"
     "<|im_start|>assistant\n"
     "I read it.\n"
     "<tool_call>\n"
     "<function=Read>\n"
     "<parameter=path>\n"
     "a.c\n"
     "</parameter>\n"
     "</function>\n"
     "</tool_call><|im_end|>\n"
     "<|im_start|>user\n"
     "<tool_response>\n"
     "int x;\n"
     "</tool_response><|im_end|>\n"
     "<|im_start|>user\n"
     "Well?<|im_end|>\n"
     "<|im_start|>assistant\n"},
};

static const char *source_of(const char *name)
{
    for (size_t i = 0; i < FIXTURE_TEMPLATES; i++)
        if (strcmp(fixture_templates[i].name, name) == 0)
            return fixture_templates[i].source;
    fail_msg("no template is called %s", name);
    return NULL;
}

static void test_render__each_family_reads_as_it_was_trained(void **state)
{
    (void)state;
    struct strbuf text;
    strbuf_init(&text, 100000);
    size_t n_failed = 0;
    for (size_t i = 0; i < sizeof goldens / sizeof goldens[0]; i++) {
        struct fixture_model f;
        struct rendered r;
        fixture_open(&f, source_of(goldens[i].name));
        fixture_render(&f, goldens[i].json, &r, &text);
        bool is_wanted = str_is(strbuf_str(&text), goldens[i].wanted);
        n_failed += !is_wanted;
        if (!is_wanted)
            print_error("%s:\n%s\n--- wanted:\n%s\n", goldens[i].name, strbuf_cstr(&text),
                        goldens[i].wanted);
        rendered_free(&r);
        fixture_close(&f);
    }
    strbuf_free(&text);
    assert_int_equal(n_failed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_render__each_family_reads_as_it_was_trained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
