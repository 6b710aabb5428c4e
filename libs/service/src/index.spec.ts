import * as config from './config/index.ts';
import * as service from './index.ts';
import * as testing from './testing/index.ts';

it('exports what it exported', () => {
  expect(Object.keys(service).sort()).toMatchSnapshot();
  expect(Object.keys(config).sort()).toMatchSnapshot();
  expect(Object.keys(testing).sort()).toMatchSnapshot();
});
